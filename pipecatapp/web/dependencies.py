"""What FastAPI routes depend on: the context of the agent.

It owns the bundle that the composition root fills; the parts themselves are of other layers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends
from starlette.requests import HTTPConnection

from pipecatapp.agent.service import TwinService
from pipecatapp.gateway.service import Gateway
from pipecatapp.ports import CallManager, CheckResult, ToolBox
from pipecatapp.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentContext:
    """The agent, as the web layer sees it.

    Args:
        settings: The process's settings.
        service: Sessions.
        calls: Voice.
        toolbox: Tools, to list them.
        checks: Returns each part's state.
        describe: Returns what runs, for `/api/status`.
        experts: Returns who may answer and where, for `/api/experts`.
        speak: Returns a sentence as a WAV file.
        gateway: The models for other programs; None for an agent that has none to give.
        allowed_hosts: Returns the names and addresses by which the house may be asked for, in small letters.
    """

    settings: Settings
    service: TwinService
    calls: CallManager
    toolbox: ToolBox
    checks: Callable[[], Mapping[str, CheckResult]]
    describe: Callable[[], Mapping[str, Any]]
    experts: Callable[[], Mapping[str, Any]]
    speak: Callable[[str], Awaitable[bytes]]
    gateway: Gateway | None = None
    allowed_hosts: Callable[[], Collection[str]] = frozenset


def _context(connection: HTTPConnection) -> AgentContext:
    context = connection.app.state.context
    assert isinstance(context, AgentContext)
    return context


Context = Annotated[AgentContext, Depends(_context)]
"""Give a route its parts."""
