"""The tools of this agent: one list, and the box that a session calls them through.

It owns which tools there are; each tool is one file beside this one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipecatapp.errors import ConfigError, ToolError
from pipecatapp.ports import Clock, ToolResult, ToolSpec
from pipecatapp.tools.base import Tool, ToolContext
from pipecatapp.tools.clock_tool import clock
from pipecatapp.tools.code_runner_tool import code_runner
from pipecatapp.tools.final_answer_tool import final_answer
from pipecatapp.tools.search_tool import search
from pipecatapp.tools.wrappers import wrap


def shipped_tools(*, system_clock: Clock, search_dir: Path) -> tuple[Tool, ...]:
    """Return every tool, in the order in which models and people see them.

    Args:
        system_clock: What time it is.
        search_dir: Folder that `search` may look through.
    """
    return (
        final_answer(),
        clock(system_clock),
        code_runner(),
        search(search_dir),
    )


class LocalToolBox:
    """A ToolBox over tools in this process.

    Args:
        tools: Names must differ.

    Raises:
        ConfigError: Two tools have one name.
    """

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._tools: dict[str, Tool] = {}
        for item in tools:
            if item.spec.name in self._tools:
                raise ConfigError("tool-name", f"Two tools are called '{item.spec.name}'.")
            self._tools[item.spec.name] = wrap(item)

    def specs(self) -> Sequence[ToolSpec]:
        """Return every tool, in a stable order."""
        return tuple(item.spec for item in self._tools.values())

    async def call(self, name: str, arguments: Mapping[str, Any], *, session_id: str) -> ToolResult:
        """Run one tool; a ToolError of it becomes a result with `ok` False.

        Raises:
            ToolError: There is no tool of that name; the message lists those there are.
        """
        return await self._find(name).run(arguments, ToolContext(session_id))

    def parse_arguments(self, name: str, text: str) -> Mapping[str, Any] | None:
        """Return arguments that a rule of the tool reads from `text` for certain, or None.

        Raises:
            ToolError: There is no tool of that name; the message lists those there are.
        """
        return self._find(name).extract(text)

    def _find(self, name: str) -> Tool:
        try:
            return self._tools[name]
        except KeyError:
            known = ", ".join(self._tools) or "none"
            raise ToolError("unknown-tool", f"There is no tool '{name}'; known: {known}.") from None
