"""Each way in which a workflow file can be wrong, and the two forms in which it can be right.

It owns the claims about loading; running is tested beside it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pipecatapp.errors import WorkflowDefinitionError
from pipecatapp.workflow.loader import load_workflow
from pipecatapp.workflow.model import Source

pytestmark = pytest.mark.unit

BAD = Path(__file__).parent / "bad"

PROBLEMS = {
    # file: (line, node, key, part of the message)
    "bad_comparison": (8, "greet", "when", "is no comparison; write node.output == 'text'"),
    "bad_config_value": (11, "greet", "max_tokens", "valid integer"),
    "bad_fallback": (8, "greet", "fallback", "output 'text' is text, found 3"),
    "bad_id": (4, "Greet-Them", "id", "snake_case"),
    "bad_long_form": (9, "greet", "output", "known: from_node, from_output"),
    "bad_retry": (8, "greet", "limit", "from 1 to 5"),
    "bad_rule": (9, "choose", "rules", "unterminated subpattern"),
    "bad_source": (8, "greet", "name", "expected 'node.output'"),
    "bad_timeout": (8, "greet", "timeout_s", "above 0"),
    "bad_yaml": (6, "", "", "is not YAML"),
    "changing_system_prompt": (6, "ask", "system", "must be constant"),
    "comparison_order": (8, "greet", "when", "compared by == or !="),
    "comparison_type": (8, "greet", "when", "is text, but 3.0 is not"),
    "config_out_of_range": (11, "greet", "temperature", "less than or equal to 2"),
    "dangling_edge": (8, "greet", "name", "'inptu.user_text' comes from no node; known: input"),
    "duplicate_id": (8, "greet", "id", "taken by line 4"),
    "duplicate_key": (6, "", "type", "twice"),
    "empty": (0, "", "", "is empty"),
    "loop_dangling_edge": (14, "greet", "said", "comes from no node; known: greet, loop"),
    "loop_limit": (8, "again", "limit", "from 1 to 20"),
    "missing_config_key": (6, "ask", "user", "missing key"),
    "missing_input": (4, "greet", "place", "required: name, place"),
    "missing_nodes": (1, "", "nodes", "required: name, nodes"),
    "missing_timeout": (8, "greet", "timeout_s", "names its limit"),
    "no_outputs": (1, "", "outputs", "needs the key 'outputs'"),
    "nodes_not_a_list": (2, "", "nodes", "expected a list, found a mapping"),
    "not_a_mapping": (1, "", "", "expected a mapping, found a list"),
    "prompt_in_file": (7, "greet", "text", "put a longer text into prompts/"),
    "reserved_id": (4, "loop", "id", "reserved"),
    "type_mismatch": (7, "greet", "messages", "is text, but the input takes messages"),
    "unbounded_cycle": (7, "first", "inputs", "unbounded cycle first <- second <- first"),
    "unbounded_loop": (7, "again", "limit", "must name its limit"),
    "unknown_class": (8, "choose", "default", "known: chat"),
    "unknown_config_key": (7, "greet", "txt", "known: prompt, text"),
    "unknown_fallback": (8, "greet", "fallback", "known: text"),
    "unknown_input": (9, "greet", "nme", "known: name"),
    "unknown_input_type": (3, "input", "user_text", "known: text, stream"),
    "unknown_key": (8, "greet", "timout_s", "known: config, fallback, id"),
    "unknown_node_type": (5, "greet", "type", "known: branch, classify_intent, extract_facts, input"),
    "unknown_output": (9, "output", "text", "has no output 'txt'; it has: text"),
    "unknown_prompt": (6, "ask", "system", "unknown prompt 'assistent_system'; known: about_answer"),
    "unknown_top_key": (2, "", "notes", "known: description, inputs, name, nodes"),
    "unsafe_tag": (3, "", "nodes", "expected a mapping"),
    "unused_input": (2, "input", "history", "no node reads this input"),
    "unused_output": (8, "forgotten", "id", "nothing reads any of its outputs"),
    "wrong_name": (1, "", "name", "must be the file's name, 'wrong_name'"),
}


@pytest.mark.parametrize("name", sorted(PROBLEMS))
def test_a_wrong_file_is_refused_with_its_place(name: str) -> None:
    line, node, key, words = PROBLEMS[name]

    with pytest.raises(WorkflowDefinitionError) as caught:
        load_workflow(BAD / f"{name}.yaml")

    error = caught.value
    assert (error.line, error.node, error.key) == (line, node, key), error.message
    assert words in error.message
    assert error.message.startswith(f"{name}.yaml")


def test_every_bad_file_has_its_claim() -> None:
    assert {path.stem for path in BAD.glob("*.yaml")} == set(PROBLEMS)


def test_a_file_that_is_not_there_is_said_to_be() -> None:
    with pytest.raises(WorkflowDefinitionError, match="cannot be read: No such file"):
        load_workflow(BAD / "nowhere.yaml")


LONG_FORM = """
name: greet
nodes:
  - {id: entry, type: input, config: {ports: {user_text: text}}}
  - id: hello
    type: template
    config: {text: "Hello {name}"}
    when: entry.user_text == 'Ann'
    inputs:
      - {name: name, connection: {from_node: entry, from_output: user_text}}
  - id: bye
    type: template
    config: {text: "Bye {name}"}
    inputs:
      - {name: name, connection: {from_node: entry, from_output: user_text}}
  - id: exit
    type: output
    inputs:
      - {name: text, connection: {from_node: hello, from_output: text}}
      - {name: text, connection: {from_node: bye, from_output: text}}
"""

SHORT_FORM = """
name: greet
inputs: {user_text: text}
nodes:
  - id: hello
    type: template
    config: {text: "Hello {name}"}
    when: input.user_text == 'Ann'
    inputs: {name: input.user_text}
  - id: bye
    type: template
    config: {text: "Bye {name}"}
    inputs: {name: input.user_text}
outputs: {text: [hello.text, bye.text]}
"""


def test_both_forms_become_the_same_model(tmp_path: Path) -> None:
    shapes = []
    for folder, text, entry in (("long", LONG_FORM, "entry"), ("short", SHORT_FORM, "input")):
        path = tmp_path / folder / "greet.yaml"
        path.parent.mkdir()
        path.write_text(text)
        workflow = load_workflow(path)
        shapes.append(
            [
                (
                    node.type,
                    {
                        name: [str(source).replace(f"{entry}.", "input.") for source in sources]
                        for name, sources in node.inputs.items()
                    },
                )
                for node in workflow.nodes
            ]
        )
        assert workflow.inputs == {"user_text": "text"}
        assert workflow.outputs == ("text",)

    assert shapes[0] == shapes[1]


def test_alternatives_keep_their_order(tmp_path: Path) -> None:
    path = tmp_path / "greet.yaml"
    path.write_text(SHORT_FORM)

    output = load_workflow(path).nodes[-1]

    assert [str(source) for source in output.inputs["text"]] == ["hello.text", "bye.text"]
    assert output.inputs["text"][0] == Source("hello", "text", line=output.line)
