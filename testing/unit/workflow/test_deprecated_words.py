"""Earlier words in a workflow file: accepted, each with one warning that names its place."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from pipecatapp.errors import WorkflowDefinitionError
from pipecatapp.workflow.deprecated_words import KEYS, NODE_TYPES, DeprecatedWord
from pipecatapp.workflow.loader import load_workflow
from pipecatapp.workflow.nodes import default_registry

pytestmark = pytest.mark.unit

NODES = {
    "classify_intent": (
        "config: {classes: {chat: chat_examples}, default: chat}, inputs: {text: input.user_text},"
        " timeout_s: 3",
        "kind",
    ),
    "extract_facts": (
        "config: {facts: fact_examples, negatives: passing_examples}, inputs: {text: input.user_text},"
        " timeout_s: 3",
        "said_back",
    ),
    "prompt": (
        "config: {system: assistant_system, few_shot: assistant_opening, user: assistant_user},"
        " inputs: {user_text: input.user_text}",
        "messages",
    ),
    "regex_match": ("config: {pattern: now}, inputs: {text: input.user_text}", "found"),
    "route_to_expert": (
        "config: {strategy: rules, default: main}, inputs: {text: input.user_text}, timeout_s: 3",
        "reason",
    ),
    "tool_arguments": (
        "config: {final_tool: final_answer}, inputs: {text: input.user_text, tool: input.user_text}",
        "tools",
    ),
}
"""A node of each type that has earlier words, with one of its outputs."""
LINE = 4
"""Where the node stands."""


def document(node_type: str, rest: str, output: str) -> str:
    return f"""name: own
inputs: {{user_text: text}}
nodes:
  - {{id: it, type: {node_type}, {rest}}}
  - {{id: say, type: template, config: {{text: "{{it}}"}}, inputs: {{it: it.{output}}}}}
outputs: {{text: say.text}}
"""


def load(folder: Path, text: str) -> tuple[object, list[DeprecatedWord]]:
    path = folder / "own.yaml"
    path.write_text(text)
    words: list[DeprecatedWord] = []
    return load_workflow(path, warn=words.append), words


@pytest.mark.parametrize(("old", "new"), NODE_TYPES.items())
def test_an_earlier_node_type_is_accepted_and_told_once(tmp_path: Path, old: str, new: str) -> None:
    rest, output = NODES[new]
    current, none = load(tmp_path, document(new, rest, output))

    earlier, words = load(tmp_path, document(old, rest, output))

    assert earlier == current
    assert none == []
    (word,) = words
    assert (word.file, word.line, word.node) == ("own.yaml", LINE, "it")
    assert (word.kind, word.old, word.new) == ("node type", old, new)


@pytest.mark.parametrize(
    ("node_type", "old", "new"), [(name, *pair) for name, keys in KEYS.items() for pair in keys.items()]
)
def test_an_earlier_key_is_accepted_and_told_once(tmp_path: Path, node_type: str, old: str, new: str) -> None:
    rest, output = NODES[node_type]
    current, _ = load(tmp_path, document(node_type, rest, output))

    earlier, words = load(tmp_path, document(node_type, re.sub(rf"\b{new}:", f"{old}:", rest), output))

    assert earlier == current
    (word,) = words
    assert (word.file, word.line, word.node) == ("own.yaml", LINE, "it")
    assert (word.kind, word.old, word.new) == ("key", old, new)


def test_earlier_words_are_told_at_each_place(tmp_path: Path) -> None:
    rest, output = NODES["route_to_expert"]
    text = document(
        "route_to_expert", rest.replace("strategy", "way").replace("default", "otherwise"), output
    )
    second = '  - {id: seen, type: match, config: {pattern: "now"}, inputs: {text: input.user_text}}\n'

    _, words = load(
        tmp_path, text.replace("  - {id: say, ", f"{second}  - {{id: say, when: seen.found == true, ")
    )

    assert [(word.line, word.old) for word in words] == [(4, "way"), (4, "otherwise"), (5, "match")]


def test_both_words_for_one_key_are_refused(tmp_path: Path) -> None:
    rest, output = NODES["classify_intent"]
    both = rest.replace("default: chat", "default: chat, otherwise: chat")

    with pytest.raises(WorkflowDefinitionError, match="is the earlier word for 'default'") as caught:
        load(tmp_path, document("classify_intent", both, output))

    assert (caught.value.line, caught.value.key) == (LINE, "otherwise")


def test_a_wrong_value_of_an_earlier_key_is_told_with_its_line(tmp_path: Path) -> None:
    rest, output = NODES["route_to_expert"]

    with pytest.raises(WorkflowDefinitionError, match="'examples', 'rules' or 'model'") as caught:
        load(tmp_path, document("route_to_expert", rest.replace("strategy: rules", "way: dice"), output))

    assert (caught.value.line, caught.value.key) == (LINE, "strategy")


def test_the_warning_goes_to_the_log_with_its_place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(document("match", *NODES["regex_match"]))

    with caplog.at_level(logging.WARNING):
        load_workflow(path)

    (record,) = caplog.records
    told = vars(record)
    assert [told[name] for name in ("file", "line", "old", "new")] == [
        "own.yaml",
        LINE,
        "match",
        "regex_match",
    ]


def test_every_word_that_is_meant_is_there() -> None:
    registry = default_registry()
    assert set(NODE_TYPES.values()) <= set(registry.names())
    assert not set(NODE_TYPES) & set(registry.names())
    for node_type, keys in KEYS.items():
        cls = registry.get(node_type)
        assert cls is not None
        assert set(keys.values()) <= cls.config_type.model_fields.keys()
        assert not set(keys) & cls.config_type.model_fields.keys()
