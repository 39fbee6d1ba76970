"""Where an instance of the replicated memory stands after what."""

from __future__ import annotations

from functools import reduce
from itertools import product

import pytest

from pipecatapp.memory import replication_state
from pipecatapp.memory.replication_state import TRANSITIONS, Event, State, after
from testing.drawn_tables import drawn_table, table_of

pytestmark = pytest.mark.unit

WITH_REPLICA = [state for state in State if state is not State.ALONE]


def course(*events: Event, start: State = State.WAITING) -> list[State]:
    states = [start]
    for event in events:
        states.append(after(states[-1], event))
    return states[1:]


def test_the_drawn_table_is_the_one_that_is_used() -> None:
    assert drawn_table(replication_state) == table_of(TRANSITIONS)


def test_an_instance_takes_over_and_leads() -> None:
    assert course(Event.ACQUIRED, Event.CAUGHT_UP, Event.TOOK_OVER) == [
        State.TAKING_OVER,
        State.INHERITING,
        State.LEADING,
    ]


def test_a_write_is_in_doubt_until_the_replica_has_it() -> None:
    assert course(Event.PARTED, Event.CAUGHT_UP, start=State.LEADING) == [State.BEHIND, State.LEADING]


def test_an_instance_without_the_lock_serves_until_another_leads() -> None:
    states = course(Event.LOST, Event.PARTED, Event.FOLLOWED, start=State.LEADING)
    assert states == [State.LOCKLESS, State.CUT_OFF, State.WAITING]
    assert [state.is_serving for state in states] == [True, True, False]


def test_taking_over_goes_on_where_the_lock_was_lost() -> None:
    assert course(Event.LOST, Event.ACQUIRED, Event.TOOK_OVER, start=State.INHERITING)[-1] is State.LEADING


@pytest.mark.parametrize("state", WITH_REPLICA)
@pytest.mark.parametrize("event", [Event.FENCED, Event.FOLLOWED])
def test_who_sees_another_lead_waits(state: State, event: Event) -> None:
    assert after(state, event) is State.WAITING


@pytest.mark.parametrize("event", list(Event))
def test_who_is_alone_stays_alone(event: Event) -> None:
    assert after(State.ALONE, event) is State.ALONE
    assert State.ALONE.is_serving


EFFECTS = {
    Event.ACQUIRED: {"has_lock": True},
    Event.LOST: {"has_lock": False},
    Event.CAUGHT_UP: {"is_synced": True},
    Event.PARTED: {"is_synced": False},
    Event.TOOK_OVER: {"is_serving": True},
    Event.FENCED: {"has_lock": False, "is_serving": False, "is_synced": False},
    Event.FOLLOWED: {"has_lock": False, "is_serving": False, "is_synced": False},
}


def claims(state: State) -> dict[str, bool]:
    return {"has_lock": state.has_lock, "is_serving": state.is_serving, "is_synced": state.is_synced}


@pytest.mark.parametrize(("state", "event"), list(product(WITH_REPLICA, Event)))
def test_an_event_changes_what_it_is_about_and_nothing_else(state: State, event: Event) -> None:
    assert claims(after(state, event)) == claims(state) | EFFECTS[event]


def test_each_state_claims_something_else() -> None:
    assert len({tuple(claims(state).values()) for state in WITH_REPLICA}) == len(WITH_REPLICA)


def test_every_state_can_be_reached() -> None:
    reached = reduce(
        lambda states, _: states | {after(state, event) for state in states for event in Event},
        WITH_REPLICA,
        {State.WAITING},
    )
    assert reached == set(WITH_REPLICA)
