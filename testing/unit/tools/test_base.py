"""A tool's name, schema and arguments come from its function; its limits hold."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

import pytest
from pydantic import Field

from pipecatapp.errors import ToolError, ToolRetry
from pipecatapp.ports import ToolResult
from pipecatapp.tools.base import ToolContext, ToolFunction, parse_docstring, tool
from pipecatapp.tools.registry import LocalToolBox

pytestmark = pytest.mark.unit

REFUSALS: dict[str, Exception] = {
    "retry": ToolRetry("bad", "The number is odd."),
    "error": ToolError("no", "The oven is off."),
    "denied": PermissionError(13, "denied", "/secret/path"),
    "bug": ZeroDivisionError("a bug"),
}


@tool(examples=("Bake a cake",), needs_approval=True, timeout_s=0.01, output_chars=60)
def bake(oven: str) -> ToolFunction:
    async def execute(
        context: ToolContext,
        kind: Literal["cake", "bread"],
        pieces: Annotated[int, Field(ge=1, le=3)] = 1,
        mode: str = "",
    ) -> str | ToolResult:
        """Bake something
        in the oven.

        Only in the kitchen.

        Args:
            kind: What to bake,
                sweet or not.
            pieces: How many.
            mode: How it goes.

        Returns:
            Crumbs.
        """
        if mode in REFUSALS:
            raise REFUSALS[mode]
        if mode == "slow":
            await asyncio.sleep(60)
        if mode == "long":
            return "x" * 1000
        return f"{pieces} {kind} in {oven} for {context.session_id}"

    return execute


@pytest.fixture
def box() -> LocalToolBox:
    return LocalToolBox([bake("the oven")])


def test_the_schema_is_the_signature_and_the_docstring(box: LocalToolBox) -> None:
    (spec,) = box.specs()
    assert (spec.name, spec.description) == ("bake", "Bake something in the oven.")
    assert (spec.needs_approval, spec.examples) == (True, ("Bake a cake",))
    assert spec.parameters == {
        "type": "object",
        "additionalProperties": False,
        "required": ["kind"],
        "properties": {
            "kind": {
                "type": "string",
                "enum": ["cake", "bread"],
                "description": "What to bake, sweet or not.",
            },
            "pieces": {
                "type": "integer",
                "minimum": 1,
                "maximum": 3,
                "default": 1,
                "description": "How many.",
            },
            "mode": {"type": "string", "default": "", "description": "How it goes."},
        },
    }


def test_an_argument_without_a_description_is_a_fault_at_start() -> None:
    @tool(examples=())
    def dig() -> ToolFunction:
        async def execute(depth: int) -> str:
            """Dig."""
            return str(depth)

        return execute

    with pytest.raises(KeyError, match="depth"):
        dig()


def test_a_docstring_without_arguments_is_its_first_paragraph() -> None:
    assert parse_docstring("Do it\nnow.\n\nMore.") == ("Do it now.", {})


async def test_a_call_gets_options_arguments_and_context(box: LocalToolBox) -> None:
    result = await box.call("bake", {"kind": "cake", "pieces": 2}, session_id="s1")
    assert result == ToolResult(True, "2 cake in the oven for s1")


@pytest.mark.parametrize(
    "arguments", [{}, {"kind": "stone"}, {"kind": "cake", "pieces": 4}, {"kind": "cake", "context": {}}]
)
async def test_wrong_arguments_are_sent_back(box: LocalToolBox, arguments: dict[str, object]) -> None:
    result = await box.call("bake", arguments, session_id="s")
    assert not result.ok
    assert "Its arguments are: kind, pieces, mode." in result.content
    assert result.content.endswith("call it again.")


@pytest.mark.parametrize(
    ("mode", "content", "speech"),
    [
        ("retry", "The number is odd. Correct the arguments and call it again.", ""),
        ("error", "The oven is off.", "The oven is off."),
        ("denied", "I am not allowed to read or write that.", "I am not allowed to read or write that."),
        (
            "slow",
            "The tool 'bake' was not done within 0.01 seconds.",
            "The tool 'bake' was not done within 0.01 seconds.",
        ),
    ],
)
async def test_what_the_world_refuses_is_told(
    box: LocalToolBox, mode: str, content: str, speech: str
) -> None:
    result = await box.call("bake", {"kind": "cake", "mode": mode}, session_id="s")
    assert result == ToolResult(False, content, speech=speech)


async def test_a_fault_of_ours_is_not_hidden(box: LocalToolBox) -> None:
    with pytest.raises(ZeroDivisionError):
        await box.call("bake", {"kind": "cake", "mode": "bug"}, session_id="s")


async def test_a_long_result_is_cut_and_says_so(box: LocalToolBox) -> None:
    result = await box.call("bake", {"kind": "cake", "mode": "long"}, session_id="s")
    assert len(result.content) == 60
    assert result.content.endswith("[1000 characters; the rest was cut]")
