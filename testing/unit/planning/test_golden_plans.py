"""The plans of recorded houses read as they did, and what they promise holds.

`python -m testing.plans --write` writes the files anew; look at the difference before it is committed.
"""

from __future__ import annotations

import pytest

from pipecatapp.planning.report import programs_of
from testing.plans import PLANS, houses, plan_of, profiles, text_of

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("house", list(houses()))
def test_a_plan_reads_as_recorded(house: str) -> None:
    assert (PLANS / f"{house}.txt").read_text(encoding="utf-8") == text_of(house)


def test_no_recorded_plan_is_of_a_house_that_is_gone() -> None:
    assert {path.stem for path in PLANS.glob("*.txt")} == set(houses())


def test_there_are_ten_machines_and_each_says_that_it_is_an_example() -> None:
    machines = profiles().values()
    assert len(machines) == 10
    assert all("example" in machine.note for machine in machines)


@pytest.mark.parametrize("house", list(houses()))
def test_no_node_is_asked_for_more_than_it_has(house: str) -> None:
    plan = plan_of(house)
    rooms = {node.node: node.memory_mb for node in plan.nodes}
    assert all(taken < rooms[node] for node, taken in plan.taken_mb().items())


@pytest.mark.parametrize("house", list(houses()))
def test_every_part_of_an_expert_runs_on_its_nodes_cpu(house: str) -> None:
    machines = profiles()
    for assignment in plan_of(house).experts:
        if assignment.placement is not None:
            needs = set(assignment.placement.model.requires_cpu)
            for node in (assignment.placement.server, *assignment.placement.workers):
                assert needs <= set(machines[node].cpu_flags)


def test_a_house_without_sse41_is_given_what_runs_there() -> None:
    plan = plan_of("no-sse41")
    assert [assignment.expert for assignment in plan.experts if assignment.placement] == ["main"]
    assert {program for programs in programs_of(plan).values() for program in programs} == {"llama-server"}


def test_the_office_splits_the_one_model_that_no_machine_holds() -> None:
    split = [
        assignment.expert
        for assignment in plan_of("office").experts
        if assignment.placement and assignment.placement.is_split
    ]
    assert split == ["math"]
