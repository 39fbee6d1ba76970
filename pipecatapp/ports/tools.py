"""Tools: what a model is told of them, and the box that runs them.

Not here: the tools themselves (`pipecatapp.tools`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """A tool as a model sees it.

    Args:
        name: Snake-case name.
        description: One or two sentences.
        parameters: JSON schema of an object.
        needs_approval: True when it writes, runs code, spends money or leaves the house.
        examples: Requests that call for it, for the router.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    needs_approval: bool = False
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool gave back.

    Args:
        ok: False when the tool refused or failed.
        content: What the model is told.
        speech: A sentence that answers the user as it stands, or "" when the model must phrase it.
        is_final: True when the turn ends with `speech` or `content`.
    """

    ok: bool
    content: str
    speech: str = ""
    is_final: bool = False


@runtime_checkable
class ToolBox(Protocol):
    """The tools that a session may use."""

    def specs(self) -> Sequence[ToolSpec]:
        """Return every tool, in a stable order."""
        ...

    async def call(self, name: str, arguments: Mapping[str, Any], *, session_id: str) -> ToolResult:
        """Run one tool. A ToolError becomes a result with `ok` False.

        Raises:
            ToolError: There is no tool of that name; the message lists those there are.
        """
        ...

    def parse_arguments(self, name: str, text: str) -> Mapping[str, Any] | None:
        """Return arguments for tool `name` that rules can read from a user's `text` for certain.

        None means that no rule is sure, or that the tool has none: a model must fill the arguments in.

        Raises:
            ToolError: There is no tool of that name; the message lists those there are.
        """
        ...
