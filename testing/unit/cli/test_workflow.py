"""What `twin workflow` prints and returns.

It owns the claims about the command line; the engine's are in `testing/unit/workflow`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pipecatapp.cli import main
from pipecatapp.cli.workflow import _run
from pipecatapp.settings import Settings
from pipecatapp.workflow.services import NodeServices
from testing.fakes.fake_llm import FakeLlm
from testing.unit.workflow.conftest import services_of

pytestmark = pytest.mark.unit

BAD = Path(__file__).parents[1] / "workflow" / "bad"


def test_lint_says_that_the_shipped_files_are_right(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["workflow", "lint"]) == 0
    assert "default_agent_loop.yaml: right" in capsys.readouterr().out


def test_lint_names_the_place_of_each_problem(capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(BAD / "dangling_edge.yaml"), str(BAD / "unknown_key.yaml")]

    code = main(["workflow", "lint", *files])

    lines = capsys.readouterr().err.splitlines()
    assert code == 1
    assert [line.partition(" ")[0] for line in lines] == ["dangling_edge.yaml:8:", "unknown_key.yaml:8:"]


def test_an_unknown_name_lists_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["workflow", "draw", "nothing"]) == 1
    assert "known: default_agent_loop" in capsys.readouterr().err


def test_draw_shows_each_node_and_the_loops_limit(capsys: pytest.CaptureFixture[str]) -> None:
    main(["workflow", "draw", "default_agent_loop"])

    drawing = capsys.readouterr().out
    assert "use_tools [loop]" in drawing
    assert "up to 3 times, until call.is_done == true" in drawing


def test_draw_speaks_graphviz(capsys: pytest.CaptureFixture[str]) -> None:
    main(["workflow", "draw", "default_agent_loop", "--dot"])

    drawing = capsys.readouterr().out
    assert drawing.startswith('digraph "default_agent_loop" {')
    assert drawing.count("{") == drawing.count("}") + drawing.count("{{")
    assert '"input" -> "route" [label="user_text to text"];' in drawing


def test_nodes_lists_ports_and_keys(capsys: pytest.CaptureFixture[str]) -> None:
    main(["workflow", "nodes"])

    listing = capsys.readouterr().out
    assert "llm: Asks a model once" in listing
    assert "in     messages: messages, schema: json" in listing


def options(*extra: str) -> argparse.Namespace:
    values = {"name": "default_agent_loop", "text": "Why is the sky blue?", "llm_url": ""}
    return argparse.Namespace(**values, speculative="speculative" in extra, json="json" in extra)


@asynccontextmanager
async def scripted(settings: Settings) -> AsyncIterator[NodeServices]:
    yield services_of(FakeLlm(["It just is."]))


def test_run_prints_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(options(), scripted) == 0
    assert capsys.readouterr().out == "It just is.\n"


def test_run_prints_events_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    _run(options("json"), scripted)

    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["kind"] for event in events] == ["text", "text", "text", "finished"]


def test_lint_tells_a_deprecated_word_and_accepts_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("""name: own
inputs: {user_text: text}
nodes:
  - {id: seen, type: match, config: {pattern: now}, inputs: {text: input.user_text}}
  - {id: say, type: template, config: {text: "Now."}, when: seen.found == true}
outputs: {text: say.text}
""")

    assert main(["workflow", "lint", str(path)]) == 0

    told = capsys.readouterr()
    assert told.out == "own.yaml: right, 4 nodes\n"
    assert told.err == (
        "own.yaml, line 4, node 'seen': the node type 'match' is now 'regex_match'; "
        "the next version refuses 'match'\n"
    )
