"""The one vocabulary of events, from the engine to the page.

Each event is a frozen dataclass; `kind` is its name on the wire and in `web/static/store.js`. The
session's bus adds `seq` (1, 2, 3 ... in one session), `time` (seconds since the epoch) and
`session_id`. What publishes and what shows an event is not decided here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

Channel = Literal["voice", "text"]
"""How a turn came in and how its answer goes out."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in one session."""

    kind: ClassVar[str] = ""

    def to_wire(self) -> dict[str, Any]:
        """Return the event as JSON-ready data, with its `kind`."""
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True, slots=True)
class SessionStarted(Event):
    """A conversation began."""

    kind: ClassVar[str] = "session_started"


@dataclass(frozen=True, slots=True)
class CallConnected(Event):
    """Audio flows."""

    kind: ClassVar[str] = "call_connected"
    pc_id: str


@dataclass(frozen=True, slots=True)
class CallEnded(Event):
    """Audio flows no more, or never did.

    `reason`: hung-up, lost, unreached (the client never connected), idle, replaced, failed or shutdown.
    """

    kind: ClassVar[str] = "call_ended"
    pc_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class UserStartedSpeaking(Event):
    """Voice activity began."""

    kind: ClassVar[str] = "user_started_speaking"


@dataclass(frozen=True, slots=True)
class UserStoppedSpeaking(Event):
    """Voice activity ended; the turn may still go on."""

    kind: ClassVar[str] = "user_stopped_speaking"


@dataclass(frozen=True, slots=True)
class UserTranscript(Event):
    """What was heard in the current utterance so far, or, when `final`, all of it."""

    kind: ClassVar[str] = "user_transcript"
    text: str
    final: bool


@dataclass(frozen=True, slots=True)
class TurnStarted(Event):
    """The user's turn is over and the agent answers it."""

    kind: ClassVar[str] = "turn_started"
    turn_id: str
    text: str
    channel: Channel


@dataclass(frozen=True, slots=True)
class AssistantDelta(Event):
    """A piece of the answer, as the engine makes it."""

    kind: ClassVar[str] = "assistant_delta"
    turn_id: str
    text: str


@dataclass(frozen=True, slots=True)
class AssistantSpoken(Event):
    """A piece of the answer whose sound has been sent."""

    kind: ClassVar[str] = "assistant_spoken"
    turn_id: str
    text: str


@dataclass(frozen=True, slots=True)
class BotStartedSpeaking(Event):
    """The first sound of an answer leaves."""

    kind: ClassVar[str] = "bot_started_speaking"


@dataclass(frozen=True, slots=True)
class BotStoppedSpeaking(Event):
    """The last sound of an answer left, or it was cut."""

    kind: ClassVar[str] = "bot_stopped_speaking"


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnFinished(Event):
    """The turn is in the conversation as `text`: what was said, or by text what was written."""

    kind: ClassVar[str] = "turn_finished"
    turn_id: str
    text: str
    interrupted: bool
    tool_calls: tuple[dict[str, Any], ...] = ()
    latency_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Interrupted(Event):
    """The user spoke or wrote over the agent; sound stops now."""

    kind: ClassVar[str] = "interrupted"
    turn_id: str


@dataclass(frozen=True, slots=True)
class ToolStarted(Event):
    """A tool runs."""

    kind: ClassVar[str] = "tool_started"
    turn_id: str
    call_id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFinished(Event):
    """A tool ended; `result` is what the model is told."""

    kind: ClassVar[str] = "tool_finished"
    turn_id: str
    call_id: str
    name: str
    ok: bool
    result: str


@dataclass(frozen=True, slots=True)
class ApprovalRequested(Event):
    """A tool waits for a person."""

    kind: ClassVar[str] = "approval_requested"
    request_id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ApprovalResolved(Event):
    """A person, or the clock, decided. `decision`: allow, deny, edit or timeout."""

    kind: ClassVar[str] = "approval_resolved"
    request_id: str
    decision: str


@dataclass(frozen=True, slots=True)
class MemoryRecalled(Event):
    """Facts of the long-term memory that this turn is answered with."""

    kind: ClassVar[str] = "memory_recalled"
    turn_id: str
    facts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MemorySaved(Event):
    """A fact was written to the long-term memory."""

    kind: ClassVar[str] = "memory_saved"
    fact_id: str
    text: str


@dataclass(frozen=True, slots=True)
class AnsweredBy(Event):
    """Who gives the answer from here on; `because` says why it is not who was asked first, or is ""."""

    kind: ClassVar[str] = "answered_by"
    turn_id: str
    by: str
    because: str = ""


@dataclass(frozen=True, slots=True)
class ExpertChosen(Event):
    """Another expert than `main` is asked; `reason` says why, `score` how near it is, 1 for certain."""

    kind: ClassVar[str] = "expert_chosen"
    turn_id: str
    expert: str
    reason: str
    score: float


@dataclass(frozen=True, slots=True)
class LatencyMeasured(Event):
    """Where a spoken turn's time went: stage to seconds, as the server saw it."""

    kind: ClassVar[str] = "latency"
    turn_id: str
    stages_s: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ErrorRaised(Event):
    """Something failed in this session, in words."""

    kind: ClassVar[str] = "error"
    code: str
    message: str
    hint: str = ""


EVENT_KINDS: tuple[str, ...] = tuple(
    sorted(
        cls.kind
        for cls in globals().values()
        if isinstance(cls, type) and issubclass(cls, Event) and cls is not Event
    )
)
"""Every `kind`; the page's store must know each."""
