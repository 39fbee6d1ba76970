"""What every `ToolBox` does.

It owns the claims. Subclass `ToolBoxSuite` and give a fixture `toolbox` with a tool called `clock` that has
a rule for "What time is it?" and answers `{"what": "time"}`.
"""

from __future__ import annotations

import pytest

from pipecatapp.errors import ToolError
from pipecatapp.ports import ToolBox


class ToolBoxSuite:
    def test_is_a_toolbox_of_described_tools(self, toolbox: ToolBox) -> None:
        assert isinstance(toolbox, ToolBox)
        names = [spec.name for spec in toolbox.specs()]
        assert "clock" in names
        assert len(set(names)) == len(names)
        assert [spec.name for spec in toolbox.specs()] == names
        for spec in toolbox.specs():
            assert spec.description
            assert spec.parameters["type"] == "object"

    def test_a_rule_reads_arguments_or_nothing(self, toolbox: ToolBox) -> None:
        assert toolbox.parse_arguments("clock", "What time is it?") == {"what": "time"}
        assert toolbox.parse_arguments("clock", "Tell me about clocks.") is None

    async def test_a_call_answers(self, toolbox: ToolBox) -> None:
        result = await toolbox.call("clock", {"what": "time"}, session_id="s")
        assert result.ok
        assert result.content

    async def test_an_unknown_tool_lists_those_there_are(self, toolbox: ToolBox) -> None:
        with pytest.raises(ToolError, match="no tool 'hammer'.*clock"):
            await toolbox.call("hammer", {}, session_id="s")
        with pytest.raises(ToolError, match="no tool 'hammer'.*clock"):
            toolbox.parse_arguments("hammer", "hit it")
