"""Time, as a port, so that tests can own it.

Not here: the system's clock (`app/clock`).
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class Clock(Protocol):
    """Time, so that tests can own it."""

    def monotonic_s(self) -> float:
        """Seconds that never go back."""
        ...

    def wall_s(self) -> float:
        """Seconds since the epoch."""
        ...
