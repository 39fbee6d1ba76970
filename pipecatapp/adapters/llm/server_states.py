"""Where the process of a language model's server stands, and how long it rests before a restart.

    state    event     next
    =======  ========  =======
    stopped  launched  loading
    loading  answered  ready
    loading  ended     down
    ready    ended     down
    down     launched  loading
    =======  ========  =======

    `closed` leads from every state to stopped. Every other pair stays as it is.

Not here: the process itself (`server_process`).
"""

from __future__ import annotations

from enum import StrEnum

from pipecatapp.backoff import backoff_s

FIRST_BACKOFF_S = 0.25
"""Wait before the first restart (seconds); doubled up to `LAST_BACKOFF_S`."""
LAST_BACKOFF_S = 15.0
STEADY_S = 60.0
"""A server that ran this long starts over at `FIRST_BACKOFF_S` (seconds)."""


class State(StrEnum):
    """Where the process stands."""

    STOPPED = "stopped"
    """It is not wanted."""
    LOADING = "loading"
    """It runs and does not answer yet."""
    READY = "ready"
    """It answers."""
    DOWN = "down"
    """It ended by itself, or did not come to answer; one that is kept is started again after a pause."""


class Event(StrEnum):
    """What happened to it."""

    LAUNCHED = "launched"
    ANSWERED = "answered"
    ENDED = "ended"
    CLOSED = "closed"


TRANSITIONS = {
    (State.STOPPED, Event.LAUNCHED): State.LOADING,
    (State.LOADING, Event.ANSWERED): State.READY,
    (State.LOADING, Event.ENDED): State.DOWN,
    (State.READY, Event.ENDED): State.DOWN,
    (State.DOWN, Event.LAUNCHED): State.LOADING,
}


def after(state: State, event: Event) -> State:
    """Return where the process stands after an event."""
    return State.STOPPED if event is Event.CLOSED else TRANSITIONS.get((state, event), state)


def failures_after(failures: int, lasted_s: float) -> int:
    """Return how many runs in a row ended early, this one too; a steady one begins a new count.

    Args:
        failures: How many there were before it.
        lasted_s: How long it ran (seconds).
    """
    return (0 if lasted_s > STEADY_S else failures) + 1


def restart_pause_s(failures: int) -> float:
    """Return the pause before the server is started again (seconds), after so many failures, from 1."""
    return backoff_s(failures, first_s=FIRST_BACKOFF_S, last_s=LAST_BACKOFF_S)
