"""The system's clock.

It owns the Clock port's real implementation.
"""

from __future__ import annotations

import time


class SystemClock:
    """Time as the machine has it."""

    def monotonic_s(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def wall_s(self) -> float:
        """Seconds since the epoch."""
        return time.time()
