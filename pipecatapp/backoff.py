"""How long to wait before another try: twice as long after each failure, up to a bound.

It owns the arithmetic; who waits, counts failures and gives up is the caller's.
"""

from __future__ import annotations

_MAX_DOUBLINGS = 16
"""More change nothing: 2^16 times the first pause is above every bound in use, and no number overflows."""


def backoff_s(failures: int, *, first_s: float, last_s: float, chance: float = 1.0) -> float:
    """Return the pause before the next try (seconds).

    Args:
        failures: How many tries in a row failed, from 1.
        first_s: Pause after the first failure (seconds, > 0).
        last_s: Longest pause (seconds).
        chance: From 0 to 1; takes up to half off, which spreads those who all lost the same server.
    """
    longest_s: float = min(last_s, first_s * 2.0 ** min(failures - 1, _MAX_DOUBLINGS))
    return longest_s * (0.5 + chance / 2)
