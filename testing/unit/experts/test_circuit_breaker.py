"""When an endpoint that failed is asked again."""

from __future__ import annotations

import pytest

from pipecatapp.experts.circuit_breaker import LOST_RACES, MOST_OPEN_S, OPEN_S, Breaker
from testing.fakes.fake_clock import FakeClock

pytestmark = pytest.mark.unit


def test_a_fault_opens_it_and_after_a_time_one_trial_may_go_through() -> None:
    clock = FakeClock()
    breaker = Breaker(clock)
    assert (breaker.state, breaker.lets_through) == ("closed", True)
    breaker.failed()
    assert (breaker.state, breaker.lets_through) == ("open", False)
    clock.advance(OPEN_S)
    assert (breaker.state, breaker.lets_through) == ("half-open", True)
    breaker.begun()
    assert not breaker.lets_through, "one at a time"
    breaker.answered()
    assert (breaker.state, breaker.lets_through) == ("closed", True)


def test_each_trial_that_fails_doubles_the_time_up_to_a_bound() -> None:
    clock = FakeClock()
    breaker = Breaker(clock)
    waited = []
    for _ in range(6):
        breaker.failed()
        waited.append(0.0)
        while breaker.state == "open":
            clock.advance(OPEN_S)
            waited[-1] += OPEN_S
    assert waited == [10, 20, 40, MOST_OPEN_S, MOST_OPEN_S, MOST_OPEN_S]
    breaker.answered()
    breaker.failed()
    clock.advance(OPEN_S)
    assert breaker.state == "half-open", "an answer makes it begin anew"


def test_a_trial_whose_caller_goes_away_leaves_it_to_the_next() -> None:
    clock = FakeClock()
    breaker = Breaker(clock)
    breaker.failed()
    clock.advance(OPEN_S)
    breaker.begun()
    breaker.left()
    assert breaker.lets_through


def test_a_lost_race_is_no_fault_and_several_are() -> None:
    breaker = Breaker(FakeClock())
    for _ in range(LOST_RACES - 1):
        breaker.lost_race()
    breaker.answered()
    for _ in range(LOST_RACES - 1):
        breaker.lost_race()
    assert breaker.state == "closed"
    breaker.lost_race()
    assert breaker.state == "open"


def test_a_trial_that_loses_a_race_has_failed() -> None:
    clock = FakeClock()
    breaker = Breaker(clock)
    breaker.failed()
    clock.advance(OPEN_S)
    breaker.begun()
    breaker.lost_race()
    assert breaker.state == "open"
