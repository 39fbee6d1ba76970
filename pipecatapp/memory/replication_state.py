"""Where one instance of the replicated memory stands: who leads, and whether file and replica are equal.

    state         event        next
    ============  ===========  ============
    waiting       acquired     taking-over
    taking-over   caught-up    inheriting
    taking-over   lost         waiting
    inheriting    took-over    leading
    inheriting    parted       taking-over
    inheriting    lost         lapsed
    leading       parted       behind
    leading       lost         lockless
    behind        caught-up    leading
    behind        lost         cut-off
    taking-over   took-over    behind
    lockless      acquired     leading
    lockless      parted       cut-off
    cut-off       acquired     behind
    cut-off       caught-up    lockless
    lapsed        acquired     inheriting
    lapsed        parted       waiting
    lapsed        took-over    lockless
    waiting       caught-up    lapsed
    waiting       took-over    cut-off
    ============  ===========  ============

    `fenced` and `followed` lead from every state to waiting. Every other pair, and an instance that is
    alone, stays as it is.

The first five rows and `leading` to `behind` and back are the usual life. The rest is the loss of the lock at
any moment: an instance serves on without it (`lockless`, `cut-off`) until another is seen to lead, and what
was begun before the loss is ended in `lapsed` or `waiting`. Not here: the lock, the file, the replica
(`replicated_memory`).
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where the instance stands."""

    ALONE = "alone"
    """It has no replica."""
    WAITING = "waiting"
    """Another has the lock, or none yet."""
    TAKING_OVER = "taking-over"
    """The lock is ours, and the file is made what the replica holds."""
    INHERITING = "inheriting"
    """The lock is ours, file and replica are equal; an empty memory gets what it begins with."""
    LEADING = "leading"
    """It serves, file and replica are equal."""
    BEHIND = "behind"
    """It serves, and the replica lacks something, or may."""
    LOCKLESS = "lockless"
    """It serves as when it led, but the lock is gone."""
    CUT_OFF = "cut-off"
    """The same, and the replica lacks something, or may."""
    LAPSED = "lapsed"
    """The lock went while it took over, behind an equal file."""

    @property
    def has_lock(self) -> bool:
        """Whether the lock is ours, as far as is known."""
        return self in _WITH_LOCK

    @property
    def is_serving(self) -> bool:
        """Whether calls are answered."""
        return self in _SERVING

    @property
    def is_synced(self) -> bool:
        """Whether file and replica are equal, as far as is known."""
        return self in _SYNCED


_WITH_LOCK = frozenset({State.TAKING_OVER, State.INHERITING, State.LEADING, State.BEHIND})
_SERVING = frozenset({State.ALONE, State.LEADING, State.BEHIND, State.LOCKLESS, State.CUT_OFF})
_SYNCED = frozenset({State.INHERITING, State.LEADING, State.LOCKLESS, State.LAPSED})


class Event(StrEnum):
    """What happened to it."""

    ACQUIRED = "acquired"
    """The lock is ours."""
    LOST = "lost"
    """The lock is not ours any more, or is given up because taking over failed."""
    CAUGHT_UP = "caught-up"
    """File and replica are equal."""
    PARTED = "parted"
    """They may differ: a write has begun, the replica is away, a backup was restored beneath it."""
    TOOK_OVER = "took-over"
    """Everything is done that comes before serving."""
    FENCED = "fenced"
    """The replica refused a write because another leads."""
    FOLLOWED = "followed"
    """Another instance was seen to lead."""


TRANSITIONS = {
    (State.WAITING, Event.ACQUIRED): State.TAKING_OVER,
    (State.TAKING_OVER, Event.CAUGHT_UP): State.INHERITING,
    (State.TAKING_OVER, Event.LOST): State.WAITING,
    (State.INHERITING, Event.TOOK_OVER): State.LEADING,
    (State.INHERITING, Event.PARTED): State.TAKING_OVER,
    (State.INHERITING, Event.LOST): State.LAPSED,
    (State.LEADING, Event.PARTED): State.BEHIND,
    (State.LEADING, Event.LOST): State.LOCKLESS,
    (State.BEHIND, Event.CAUGHT_UP): State.LEADING,
    (State.BEHIND, Event.LOST): State.CUT_OFF,
    (State.TAKING_OVER, Event.TOOK_OVER): State.BEHIND,
    (State.LOCKLESS, Event.ACQUIRED): State.LEADING,
    (State.LOCKLESS, Event.PARTED): State.CUT_OFF,
    (State.CUT_OFF, Event.ACQUIRED): State.BEHIND,
    (State.CUT_OFF, Event.CAUGHT_UP): State.LOCKLESS,
    (State.LAPSED, Event.ACQUIRED): State.INHERITING,
    (State.LAPSED, Event.PARTED): State.WAITING,
    (State.LAPSED, Event.TOOK_OVER): State.LOCKLESS,
    (State.WAITING, Event.CAUGHT_UP): State.LAPSED,
    (State.WAITING, Event.TOOK_OVER): State.CUT_OFF,
}


def after(state: State, event: Event) -> State:
    """Return where an instance stands after an event."""
    if state is not State.ALONE and event in (Event.FENCED, Event.FOLLOWED):
        return State.WAITING
    return TRANSITIONS.get((state, event), state)
