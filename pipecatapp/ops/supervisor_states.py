"""Where the supervisor of an expert stands, and what the end of a server means for its model.

    state      event            next
    =========  ===============  =========
    gathering  gathered         choosing
    choosing   works            serving
    choosing   exhausted        resting
    resting    rested           choosing
    serving    server-ended     choosing
    serving    workers-changed  draining
    draining   server-ended     choosing
    draining   drained          choosing
    =========  ===============  =========

Every other pair stays as it is; it ends by being cancelled, in any state. Not here: models, servers and RPC
backends themselves (`expert_supervisor`).
"""

from __future__ import annotations

from enum import StrEnum

UNSTEADY_S = 60.0
"""A server that ended sooner than this after its start has failed, and its model's turn is over (seconds)."""


class State(StrEnum):
    """Where the supervisor stands."""

    GATHERING = "gathering"
    """It waits for the RPC backends that were ordered."""
    CHOOSING = "choosing"
    """It tries the models of the list."""
    RESTING = "resting"
    """None of them worked; it pauses and tries all of them again."""
    SERVING = "serving"
    """One works."""
    DRAINING = "draining"
    """The RPC backends have changed; the server goes on until no reply is being written."""


class Event(StrEnum):
    """What happened."""

    GATHERED = "gathered"
    """The RPC backends are there, or the time for them is over."""
    WORKS = "works"
    """A model has answered a real prompt."""
    EXHAUSTED = "exhausted"
    """No model of the list works here."""
    RESTED = "rested"
    """The pause is over."""
    WORKERS_CHANGED = "workers-changed"
    """Other RPC backends are there than those in use."""
    DRAINED = "drained"
    """No reply is being written, or it could not be ended, or it took too long."""
    SERVER_ENDED = "server-ended"
    """The server ended by itself."""


TRANSITIONS = {
    (State.GATHERING, Event.GATHERED): State.CHOOSING,
    (State.CHOOSING, Event.WORKS): State.SERVING,
    (State.CHOOSING, Event.EXHAUSTED): State.RESTING,
    (State.RESTING, Event.RESTED): State.CHOOSING,
    (State.SERVING, Event.SERVER_ENDED): State.CHOOSING,
    (State.SERVING, Event.WORKERS_CHANGED): State.DRAINING,
    (State.DRAINING, Event.SERVER_ENDED): State.CHOOSING,
    (State.DRAINING, Event.DRAINED): State.CHOOSING,
}


def after(state: State, event: Event) -> State:
    """Return where the supervisor stands after an event."""
    return TRANSITIONS.get((state, event), state)


class Verdict(StrEnum):
    """What the end of a server says about its model."""

    CPU_FAULT = "cpu-fault"
    """Not the model's fault: its program is tried anew, and then it is served again."""
    MODEL_FAILED = "model-failed"
    """The next of the list takes its place."""
    SERVE_AGAIN = "serve-again"
    """It is as good as before."""


def verdict(lasted_s: float, *, is_cpu_at_fault: bool, has_workers: bool) -> Verdict:
    """Return what the end of a server says about its model.

    Args:
        lasted_s: How long it served (seconds).
        is_cpu_at_fault: Whether it ended at an instruction that this CPU does not execute.
        has_workers: Whether RPC backends lent it memory; the end of one is then the likelier cause.
    """
    if is_cpu_at_fault:
        return Verdict.CPU_FAULT
    return Verdict.MODEL_FAILED if lasted_s < UNSTEADY_S and not has_workers else Verdict.SERVE_AGAIN
