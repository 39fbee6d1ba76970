"""Where a model server's process stands after what, and how long it rests."""

from __future__ import annotations

import pytest

from pipecatapp.adapters.llm import server_states
from pipecatapp.adapters.llm.server_states import (
    FIRST_BACKOFF_S,
    LAST_BACKOFF_S,
    STEADY_S,
    TRANSITIONS,
    Event,
    State,
    after,
    failures_after,
    restart_pause_s,
)
from testing.drawn_tables import drawn_table, table_of

pytestmark = pytest.mark.unit


def course(*events: Event, start: State = State.STOPPED) -> list[State]:
    states = [start]
    for event in events:
        states.append(after(states[-1], event))
    return states[1:]


def test_the_drawn_table_is_the_one_that_is_used() -> None:
    assert drawn_table(server_states) == table_of(TRANSITIONS)


def test_a_server_that_ends_is_launched_again() -> None:
    assert course(Event.LAUNCHED, Event.ANSWERED, Event.ENDED, Event.LAUNCHED) == [
        State.LOADING,
        State.READY,
        State.DOWN,
        State.LOADING,
    ]


@pytest.mark.parametrize("state", list(State))
def test_closing_stops_it_wherever_it_stands(state: State) -> None:
    assert after(state, Event.CLOSED) is State.STOPPED


def test_an_end_that_is_noticed_after_closing_changes_nothing() -> None:
    assert after(State.STOPPED, Event.ENDED) is State.STOPPED


def test_only_a_server_that_runs_can_answer() -> None:
    assert [state for state in State if after(state, Event.ANSWERED) is State.READY] == [
        State.LOADING,
        State.READY,
    ]


def test_early_ends_are_counted_and_a_steady_run_begins_anew() -> None:
    assert failures_after(0, 1.0) == 1
    assert failures_after(3, STEADY_S) == 4
    assert failures_after(3, STEADY_S + 1) == 1


def test_the_pause_doubles_up_to_its_bound() -> None:
    assert [restart_pause_s(failures) for failures in (1, 2, 3)] == [
        FIRST_BACKOFF_S,
        2 * FIRST_BACKOFF_S,
        4 * FIRST_BACKOFF_S,
    ]
    assert restart_pause_s(100) == LAST_BACKOFF_S
