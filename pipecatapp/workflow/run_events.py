"""What a running workflow tells its caller.

It owns the three shapes that `WorkflowRunner.run` yields; the session's own events are in `events.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipecatapp.events import Event


@dataclass(frozen=True, slots=True)
class TextPiece:
    """A piece of the answer, as soon as a node has it; pieces join without anything between."""

    text: str


@dataclass(frozen=True, slots=True)
class EventRaised:
    """Something that the session should publish: a tool ran, a fact was recalled or saved."""

    event: Event


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The last thing a run yields.

    Args:
        outputs: The workflow's outputs by name; one whose sources were all skipped is absent.
        text: All pieces joined.
        tool_calls: `{"id", "name", "arguments", "ok", "result"}` of each tool that ran, in order.
    """

    outputs: Mapping[str, object]
    text: str
    tool_calls: tuple[dict[str, Any], ...] = ()


RunEvent = TextPiece | EventRaised | RunFinished
"""What `WorkflowRunner.run` yields; `RunFinished` comes once, last."""
