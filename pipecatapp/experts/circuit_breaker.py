"""A circuit breaker: whether a backend that failed is worth asking.

    closed --fault--> open --time--> half-open --answer--> closed
                        ^                |
                        +----fault-------+

It owns the three states and their times; what counts as a fault is the caller's.
"""

from __future__ import annotations

from typing import Literal

from pipecatapp.backoff import backoff_s
from pipecatapp.ports import Clock

OPEN_S = 10.0
"""How long an endpoint is not asked after a fault (seconds): Consul's check will have noticed by then."""
MAX_OPEN_S = 80.0
"""Longest time that it is not asked (seconds): the time doubles with each trial that fails, and a machine
that was switched on again is in use within a minute and a half."""
LOST_HEDGES = 2
"""Races lost one after the other that are a fault: one may be chance, and a caller waits for each."""

State = Literal["closed", "open", "half-open"]


class CircuitBreaker:
    """What was seen of one endpoint; half-open, it lets one call at a time through as a trial.

    Args:
        clock: Time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0
        self._until_s = 0.0
        self._hedges_lost = 0
        self._is_tried = False

    @property
    def state(self) -> State:
        """Where it stands now."""
        if not self._failures:
            return "closed"
        return "open" if self._clock.monotonic_s() < self._until_s else "half-open"

    @property
    def allows_request(self) -> bool:
        """Whether a call may go there."""
        return self.state == "closed" or (self.state == "half-open" and not self._is_tried)

    def on_request(self) -> None:
        """Note that it is asked."""
        self._is_tried = self.state == "half-open"

    def on_success(self) -> None:
        """Note its first piece of an answer."""
        self._failures, self._hedges_lost, self._is_tried = 0, 0, False

    def on_cancel(self) -> None:
        """Note that a caller went away before it could answer or fail."""
        self._is_tried = False

    def on_lost_hedge(self) -> None:
        """Note that another, asked later, spoke first."""
        self._hedges_lost += 1
        if self._hedges_lost >= LOST_HEDGES or self._failures:
            self.on_failure()
        self._is_tried = False

    def on_failure(self) -> None:
        """Note that it did not answer, or broke off."""
        self._failures += 1
        open_s = backoff_s(self._failures, first_s=OPEN_S, last_s=MAX_OPEN_S)
        self._until_s = self._clock.monotonic_s() + open_s
        self._hedges_lost, self._is_tried = 0, False
