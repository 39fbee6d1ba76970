"""The context of one call, shared by its stages.

It owns the call's link to its session (events, words heard so far, times); each stage's own work
is in its module.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from pipecatapp.agent.session import Session
from pipecatapp.agent.turn import Turn
from pipecatapp.errors import AgentError
from pipecatapp.events import ErrorRaised, Event, LatencyMeasured
from pipecatapp.ports import Clock
from pipecatapp.voice.latency_trace import LatencyTrace
from pipecatapp.voice.playout_tracker import PlayoutTracker

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class CallContext:
    """One call's shared state.

    Args:
        session: The conversation that the call belongs to.
        clock: Time.
        logs_latency: Whether each turn's latency is logged (BENCHMARK_MODE).
    """

    session: Session
    clock: Clock
    logs_latency: bool = False
    heard_text: str = ""
    turn: Turn | None = None
    """The confirmed turn that is being answered."""
    is_greeting: bool = False
    playout: PlayoutTracker = field(default_factory=PlayoutTracker)
    trace: LatencyTrace = field(init=False)

    def __post_init__(self) -> None:
        self.trace = LatencyTrace(self.clock, self._report_latency)

    def publish(self, event: Event) -> None:
        """Send `event` to everyone who follows the session."""
        self.session.bus.publish(event)

    def report(self, error: AgentError) -> None:
        """Tell the user and the log that something failed."""
        log.warning("A stage of a call failed", extra={"code": error.code})
        self.publish(ErrorRaised(code=error.code, message=error.message, hint=error.hint))

    def join_heard(self, text: str) -> str:
        """Return what was heard in this turn with `text` behind it."""
        return f"{self.heard_text} {text}".strip()

    def heard(self, text: str) -> None:
        """Add a finished utterance to this turn."""
        self.heard_text = self.join_heard(text)

    def turn_over(self) -> None:
        """Begin a new turn: nothing of it has been heard."""
        self.heard_text = ""

    def _report_latency(self, stages_s: dict[str, float]) -> None:
        turn_id = self.turn.id if self.turn is not None else ""
        self.publish(LatencyMeasured(turn_id=turn_id, stages_s=stages_s))
        if self.logs_latency:
            log.info("Turn latency", extra={"turn_id": turn_id, "stages_s": stages_s})
