"""Time that a test owns.

It owns two counters and nothing else.
"""

from __future__ import annotations


class FakeClock:
    """A clock that moves only when told to.

    Args:
        wall_s: Seconds since the epoch at the start.
    """

    def __init__(self, wall_s: float = 1_795_359_600.0) -> None:
        self._wall_s = wall_s
        self._monotonic_s = 0.0

    def monotonic_s(self) -> float:
        return self._monotonic_s

    def wall_s(self) -> float:
        return self._wall_s

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._monotonic_s += seconds
        self._wall_s += seconds
