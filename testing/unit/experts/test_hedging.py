"""Where a hedged request stands after what, and what is due when."""

from __future__ import annotations

import math

import pytest

from pipecatapp.experts import hedging
from pipecatapp.experts.hedged_request import HedgingPolicy
from pipecatapp.experts.hedging import TRANSITIONS, Event, State, after, due
from testing.drawn_tables import drawn_table, table_of

pytestmark = pytest.mark.unit


def course(*events: Event, start: State = State.IDLE) -> list[State]:
    states = [start]
    for event in events:
        states.append(after(states[-1], event))
    return states[1:]


def test_the_drawn_table_is_the_one_that_is_used() -> None:
    assert drawn_table(hedging) == table_of(TRANSITIONS)


def test_one_that_answers_is_enough() -> None:
    assert course(Event.SENT, Event.FIRST_TOKEN, Event.FINISHED) == [
        State.WAITING,
        State.STREAMING,
        State.DONE,
    ]


def test_of_two_that_fail_none_is_left_waiting() -> None:
    assert course(Event.SENT, Event.SENT, Event.FAILED, Event.FAILED) == [
        State.WAITING,
        State.HEDGED,
        State.WAITING,
        State.IDLE,
    ]


def test_what_breaks_off_is_asked_for_again() -> None:
    assert course(Event.BROKE_OFF, Event.SENT, start=State.STREAMING) == [State.IDLE, State.WAITING]


def test_what_breaks_off_at_its_bound_is_done() -> None:
    assert course(Event.BROKE_OFF, Event.FINISHED, start=State.STREAMING)[-1] is State.DONE


@pytest.mark.parametrize("state", [State.WAITING, State.HEDGED])
def test_when_the_time_is_over_all_are_stopped(state: State) -> None:
    assert due(state, now_s=20, hedge_s=math.inf, limit_s=20) is Event.EXPIRED
    assert after(state, Event.EXPIRED) is State.IDLE


@pytest.mark.parametrize("state", [State.DONE, State.DEAD])
def test_an_end_is_an_end(state: State) -> None:
    assert {after(state, event) for event in Event} == {state}


def test_never_more_than_two_are_asked() -> None:
    assert after(State.HEDGED, Event.SENT) is State.HEDGED
    assert due(State.HEDGED, now_s=9, hedge_s=2, limit_s=20) is None


@pytest.mark.parametrize(("now_s", "event"), [(1.9, None), (2.0, Event.SENT), (20.0, Event.EXPIRED)])
def test_a_slow_one_is_given_a_second_and_then_both_are_given_up(now_s: float, event: Event | None) -> None:
    assert due(State.WAITING, now_s=now_s, hedge_s=2.0, limit_s=20.0) is event


def test_nothing_is_hedged_when_none_is_asked() -> None:
    assert due(State.IDLE, now_s=9, hedge_s=2, limit_s=20) is None


@pytest.mark.parametrize(
    ("seen_s", "is_other_model", "after_s"),
    [(None, False, 2.0), (0.1, False, 0.5), (3.0, False, 3.0), (60.0, False, 5.0), (3.0, True, 6.0)],
)
def test_a_second_is_asked_after_what_was_seen_within_bounds(
    seen_s: float | None, is_other_model: bool, after_s: float
) -> None:
    assert HedgingPolicy().hedge_after_s(seen_s, is_other_model=is_other_model) == after_s
