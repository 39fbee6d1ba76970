"""The toolbox, the real one and the fake, and the promises of every shipped tool."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipecatapp.errors import ConfigError
from pipecatapp.ports import ToolResult, ToolSpec
from pipecatapp.tools import registry
from pipecatapp.tools.clock_tool import clock, read_question
from pipecatapp.tools.registry import LocalToolBox, ToolDependencies, shipped_tools
from testing.conformance.toolbox_suite import ToolBoxSuite
from testing.fakes.fake_clock import FakeClock
from testing.fakes.fake_toolbox import FakeTool, FakeToolBox

pytestmark = pytest.mark.unit


def dependencies(*, search_dir: Path = Path(), **options: Mapping[str, Any]) -> ToolDependencies:
    return ToolDependencies(system_clock=FakeClock(), search_dir=search_dir, options=options)


RULED = [item.spec.name for item in shipped_tools(dependencies()) if item.has_rule]


@pytest.fixture
def box(tmp_path: Path) -> LocalToolBox:
    return LocalToolBox(shipped_tools(dependencies(search_dir=tmp_path)))


class TestLocalToolBox(ToolBoxSuite):
    @pytest.fixture
    def toolbox(self, box: LocalToolBox) -> LocalToolBox:
        return box


class TestFakeToolBox(ToolBoxSuite):
    @pytest.fixture
    def toolbox(self) -> FakeToolBox:
        spec = ToolSpec(
            name="clock", description="Tell the time.", parameters={"type": "object", "properties": {}}
        )
        return FakeToolBox(FakeTool(spec, ToolResult(True, "It is noon."), read_question))


def test_every_tool_file_is_in_the_list_and_named_alike(box: LocalToolBox) -> None:
    folder = Path(inspect.getfile(registry)).parent
    assert {path.stem.removesuffix("_tool") for path in folder.glob("*_tool.py")} == {
        spec.name for spec in box.specs()
    }


def test_the_final_tool_is_seen_first_and_the_others_by_the_alphabet(box: LocalToolBox) -> None:
    first, *others = (spec.name for spec in box.specs())
    assert first == "final_answer"
    assert others == sorted(others)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"teapot": {"litres": 2}}, "no tool 'teapot'; known: final_answer, clock"),
        ({"clock": {"zone": "UTC"}}, "'clock' has no option 'zone'; known: none"),
        ({"clock": {"system_clock": "x"}}, "'clock' has no option 'system_clock'"),
    ],
)
def test_a_wrong_option_says_what_is_valid(options: Mapping[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        shipped_tools(dependencies(**options))


def test_what_is_ruled_is_known() -> None:
    assert {"clock", "code_runner", "search"} <= set(RULED)


def test_every_tool_has_examples_for_the_router(box: LocalToolBox) -> None:
    for spec in box.specs():
        assert 6 <= len(spec.examples) <= 10, spec.name
        assert not spec.needs_approval, "none of these writes or leaves the house"


def test_every_argument_is_described(box: LocalToolBox) -> None:
    for spec in box.specs():
        assert spec.parameters["additionalProperties"] is False
        for name, argument in spec.parameters["properties"].items():
            assert argument["description"], f"{spec.name}.{name}"
            assert "title" not in argument


@pytest.mark.parametrize("name", RULED)
async def test_what_a_rule_reads_from_an_example_is_a_valid_call(box: LocalToolBox, name: str) -> None:
    spec = next(spec for spec in box.specs() if spec.name == name)
    for example in spec.examples:
        arguments = box.parse_arguments(name, example)
        assert arguments is not None, example
        result = await box.call(name, arguments, session_id="s")
        assert result.ok, example
        assert result.speech.endswith("."), example


def test_no_rule_takes_what_is_anothers(box: LocalToolBox) -> None:
    for spec in box.specs():
        for example in spec.examples:
            for other in box.specs():
                if other.name != spec.name:
                    assert box.parse_arguments(other.name, example) is None, f"{other.name} took {example!r}"


async def test_wrong_arguments_are_told_to_the_model_only(box: LocalToolBox) -> None:
    result = await box.call("clock", {"what": "weather", "where": "x"}, session_id="s")
    assert not result.ok
    assert result.speech == ""
    assert "what" in result.content and "where" in result.content
    assert "Its arguments are: what, place, days_away." in result.content


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="Two tools are called 'clock'"):
        LocalToolBox([clock(FakeClock()), clock(FakeClock())])


async def test_arguments_and_texts_are_not_logged(
    box: LocalToolBox, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        await box.call("final_answer", {"text": "my secret"}, session_id="s")
    assert "my secret" not in caplog.text
