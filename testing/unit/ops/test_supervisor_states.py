"""Where the supervisor of an expert stands after what, and what the end of a server means."""

from __future__ import annotations

import pytest

from pipecatapp.ops import supervisor_states
from pipecatapp.ops.supervisor_states import TRANSITIONS, UNSTEADY_S, Event, State, Verdict, after, verdict
from testing.drawn_tables import drawn_table, table_of

pytestmark = pytest.mark.unit


def course(*events: Event, start: State = State.GATHERING) -> list[State]:
    states = [start]
    for event in events:
        states.append(after(states[-1], event))
    return states[1:]


def test_the_drawn_table_is_the_one_that_is_used() -> None:
    assert drawn_table(supervisor_states) == table_of(TRANSITIONS)


def test_a_list_of_which_nothing_works_is_tried_again() -> None:
    assert course(Event.GATHERED, Event.EXHAUSTED, Event.RESTED, Event.WORKS) == [
        State.CHOOSING,
        State.RESTING,
        State.CHOOSING,
        State.SERVING,
    ]


def test_a_change_of_workers_waits_for_the_reply_and_then_chooses_anew() -> None:
    assert course(Event.WORKERS_CHANGED, Event.DRAINED, start=State.SERVING) == [
        State.DRAINING,
        State.CHOOSING,
    ]


@pytest.mark.parametrize("state", [State.SERVING, State.DRAINING])
def test_the_end_of_a_server_chooses_anew(state: State) -> None:
    assert after(state, Event.SERVER_ENDED) is State.CHOOSING


def test_every_state_has_a_way_out() -> None:
    assert {state for state, _ in TRANSITIONS} == set(State)


@pytest.mark.parametrize(
    ("lasted_s", "is_cpu_at_fault", "has_workers", "found"),
    [
        (1.0, False, False, Verdict.MODEL_FAILED),
        (UNSTEADY_S, False, False, Verdict.SERVE_AGAIN),
        (1.0, False, True, Verdict.SERVE_AGAIN),
        (1.0, True, False, Verdict.CPU_FAULT),
        (UNSTEADY_S, True, True, Verdict.CPU_FAULT),
    ],
)
def test_a_model_is_given_up_only_for_an_early_end_that_is_its_own(
    lasted_s: float, is_cpu_at_fault: bool, has_workers: bool, found: Verdict
) -> None:
    assert verdict(lasted_s, is_cpu_at_fault=is_cpu_at_fault, has_workers=has_workers) is found
