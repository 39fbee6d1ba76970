"""Where a hedged request stands: who is asked, who speaks, and what is due next.

    state      event        next
    =========  ===========  =========
    idle       sent         waiting
    waiting    sent         hedged
    waiting    failed       idle
    hedged     failed       waiting
    waiting    expired      idle
    hedged     expired      idle
    waiting    first-token  streaming
    hedged     first-token  streaming
    streaming  broke-off    idle
    streaming  finished     done
    idle       finished     done
    idle       exhausted    dead
    waiting    exhausted    dead
    =========  ===========  =========

Every other pair stays as it is. `idle` again means that the rest of the reply is asked for, of what was said
so far. Not here: the backends and their replies (`hedged_request`), and the times (`HedgingPolicy`).
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where the request stands."""

    IDLE = "idle"
    """No backend is asked."""
    WAITING = "waiting"
    """One is asked and has not begun."""
    HEDGED = "hedged"
    """Two are asked and neither has begun."""
    STREAMING = "streaming"
    """One has begun; its pieces are passed on, and the other is stopped."""
    DONE = "done"
    """The reply is whole."""
    DEAD = "dead"
    """No backend is left, or the time is over."""


class Event(StrEnum):
    """What happened to it."""

    SENT = "sent"
    """A backend is asked, or one more."""
    FAILED = "failed"
    """One that was asked failed before its first token."""
    EXPIRED = "expired"
    """None began in time; all are stopped."""
    FIRST_TOKEN = "first-token"
    """One began."""
    BROKE_OFF = "broke-off"
    """It failed or fell silent in the middle."""
    FINISHED = "finished"
    """It came to its end, or to the bound of the request."""
    EXHAUSTED = "exhausted"
    """Another is to be asked, and there is none, or no time."""


TRANSITIONS = {
    (State.IDLE, Event.SENT): State.WAITING,
    (State.WAITING, Event.SENT): State.HEDGED,
    (State.WAITING, Event.FAILED): State.IDLE,
    (State.HEDGED, Event.FAILED): State.WAITING,
    (State.WAITING, Event.EXPIRED): State.IDLE,
    (State.HEDGED, Event.EXPIRED): State.IDLE,
    (State.WAITING, Event.FIRST_TOKEN): State.STREAMING,
    (State.HEDGED, Event.FIRST_TOKEN): State.STREAMING,
    (State.STREAMING, Event.BROKE_OFF): State.IDLE,
    (State.STREAMING, Event.FINISHED): State.DONE,
    (State.IDLE, Event.FINISHED): State.DONE,
    (State.IDLE, Event.EXHAUSTED): State.DEAD,
    (State.WAITING, Event.EXHAUSTED): State.DEAD,
}


def after(state: State, event: Event) -> State:
    """Return where a request stands after an event."""
    return TRANSITIONS.get((state, event), state)


def due(state: State, *, now_s: float, hedge_s: float, limit_s: float) -> Event | None:
    """Return what is due when none of those asked has begun; None for more patience.

    Args:
        state: Where the request stands.
        now_s: The time (seconds, as the others).
        hedge_s: When a second one is asked.
        limit_s: When those asked are stopped.
    """
    if now_s >= limit_s:
        return Event.EXPIRED
    if state is State.WAITING and now_s >= hedge_s:
        return Event.SENT
    return None
