"""A toolbox of scripted tools.

It owns the tools' descriptions, their results and a record of the calls; nothing is really done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipecatapp.errors import ToolError
from pipecatapp.ports import ToolResult, ToolSpec

Script = ToolResult | Sequence[ToolResult] | Callable[[Mapping[str, Any]], ToolResult]


@dataclass(frozen=True)
class FakeTool:
    """A tool that gives `results`: always the same, one after the other (the last for ever), or computed."""

    spec: ToolSpec
    results: Script
    extract: Callable[[str], Mapping[str, Any] | None] = lambda _text: None
    delay_s: float = 0.0


class FakeToolBox:
    """A toolbox that records.

    Args:
        tools: Its tools.
    """

    def __init__(self, *tools: FakeTool) -> None:
        self._tools = {tool.spec.name: tool for tool in tools}
        self.calls: list[tuple[str, dict[str, Any], str]] = []
        """Name, arguments and session of every call."""

    def specs(self) -> Sequence[ToolSpec]:
        return tuple(tool.spec for tool in self._tools.values())

    async def call(self, name: str, arguments: Mapping[str, Any], *, session_id: str) -> ToolResult:
        tool = self._find(name)
        self.calls.append((name, dict(arguments), session_id))
        if tool.delay_s:
            await asyncio.sleep(tool.delay_s)
        if callable(tool.results):
            return tool.results(arguments)
        if isinstance(tool.results, ToolResult):
            return tool.results
        so_far = sum(called == name for called, _, _ in self.calls)
        return tool.results[min(so_far, len(tool.results)) - 1]

    def parse_arguments(self, name: str, text: str) -> Mapping[str, Any] | None:
        return self._find(name).extract(text)

    def _find(self, name: str) -> FakeTool:
        try:
            return self._tools[name]
        except KeyError:
            known = ", ".join(self._tools) or "none"
            raise ToolError("unknown-tool", f"There is no tool '{name}'; known: {known}.") from None
