"""When an endpoint that failed is asked again."""

from __future__ import annotations

import pytest

from pipecatapp.experts.circuit_breaker import LOST_HEDGES, MAX_OPEN_S, OPEN_S, CircuitBreaker
from testing.fakes.fake_clock import FakeClock

pytestmark = pytest.mark.unit


def test_a_fault_opens_it_and_after_a_time_one_trial_may_go_through() -> None:
    clock = FakeClock()
    breaker = CircuitBreaker(clock)
    assert (breaker.state, breaker.allows_request) == ("closed", True)
    breaker.on_failure()
    assert (breaker.state, breaker.allows_request) == ("open", False)
    clock.advance(OPEN_S)
    assert (breaker.state, breaker.allows_request) == ("half-open", True)
    breaker.on_request()
    assert not breaker.allows_request, "one at a time"
    breaker.on_success()
    assert (breaker.state, breaker.allows_request) == ("closed", True)


def test_each_trial_that_fails_doubles_the_time_up_to_a_bound() -> None:
    clock = FakeClock()
    breaker = CircuitBreaker(clock)
    waited = []
    for _ in range(6):
        breaker.on_failure()
        waited.append(0.0)
        while breaker.state == "open":
            clock.advance(OPEN_S)
            waited[-1] += OPEN_S
    assert waited == [10, 20, 40, MAX_OPEN_S, MAX_OPEN_S, MAX_OPEN_S]
    breaker.on_success()
    breaker.on_failure()
    clock.advance(OPEN_S)
    assert breaker.state == "half-open", "an answer makes it begin anew"


def test_a_trial_whose_caller_goes_away_leaves_it_to_the_next() -> None:
    clock = FakeClock()
    breaker = CircuitBreaker(clock)
    breaker.on_failure()
    clock.advance(OPEN_S)
    breaker.on_request()
    breaker.on_cancel()
    assert breaker.allows_request


def test_a_lost_race_is_no_fault_and_several_are() -> None:
    breaker = CircuitBreaker(FakeClock())
    for _ in range(LOST_HEDGES - 1):
        breaker.on_lost_hedge()
    breaker.on_success()
    for _ in range(LOST_HEDGES - 1):
        breaker.on_lost_hedge()
    assert breaker.state == "closed"
    breaker.on_lost_hedge()
    assert breaker.state == "open"


def test_a_trial_that_loses_a_race_has_failed() -> None:
    clock = FakeClock()
    breaker = CircuitBreaker(clock)
    breaker.on_failure()
    clock.advance(OPEN_S)
    breaker.on_request()
    breaker.on_lost_hedge()
    assert breaker.state == "open"
