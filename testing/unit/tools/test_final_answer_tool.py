"""The tool that ends a turn."""

from __future__ import annotations

import pytest

from pipecatapp.ports import ToolResult
from pipecatapp.tools.final_answer_tool import final_answer
from pipecatapp.tools.registry import LocalToolBox

pytestmark = pytest.mark.unit


async def test_it_says_its_text_and_ends_the_turn() -> None:
    result = await LocalToolBox([final_answer()]).call("final_answer", {"text": " Hello. "}, session_id="s")
    assert result == ToolResult(True, "Hello.", speech="Hello.", is_final=True)


async def test_an_empty_answer_is_sent_back() -> None:
    result = await LocalToolBox([final_answer()]).call("final_answer", {"text": " "}, session_id="s")
    assert not result.ok
    assert not result.is_final
