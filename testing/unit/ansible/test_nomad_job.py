"""How values reach a job, and what is said of one that is not well; pure functions over Nomad's answers."""

from __future__ import annotations

from typing import Any

import pytest

from testing.nomad_modules import nomad_job

pytestmark = pytest.mark.unit


def allocation(name: str, index: int, **more: Any) -> dict[str, Any]:
    standard = {
        "ID": f"{index:08d}-0000",
        "Name": name,
        "NodeID": "n1",
        "NodeName": "attic",
        "CreateIndex": index,
        "DesiredStatus": "run",
        "ClientStatus": "running",
    }
    return standard | more


def test_values_are_written_as_hcl() -> None:
    text = nomad_job.variables_text(
        {"count": 2, "on": True, "names": ["a", "b"], "settings": {"X": 'say "hi"'}}
    )
    assert text.splitlines() == [
        "count = 2",
        'names = ["a", "b"]',
        "on = true",
        'settings = {"X" = "say \\"hi\\""}',
    ]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("a${b}c", '"a$${b}c"'),
        ("%{ if }", '"%%{ if }"'),
        ("two\nlines", '"two\\nlines"'),
        (["${x}"], '["$${x}"]'),
    ],
)
def test_a_text_is_never_an_expression(value: object, written: str) -> None:
    assert nomad_job.variables_text({"x": value}) == f"x = {written}\n"


def test_only_the_newest_allocation_of_a_place_counts() -> None:
    old, new = allocation("a[0]", 1, ClientStatus="failed"), allocation("a[0]", 2)
    stopping = allocation("a[1]", 3, DesiredStatus="stop")
    assert nomad_job.latest_per_place([new, old, stopping]) == [new]


@pytest.mark.parametrize("status", ["unknown", "lost"])
def test_what_a_node_had_that_is_off_does_not_count(status: str) -> None:
    here = allocation("a[0]", 2)
    away = allocation("a[0]", 1, NodeID="n2", ClientStatus=status)
    assert nomad_job.latest_per_place([away, here]) == [here]


@pytest.mark.parametrize(
    ("job_type", "status", "healthy", "well"),
    [
        ("service", "running", None, True),
        ("service", "running", False, False),
        ("service", "pending", None, False),
        ("batch", "running", None, False),
        ("batch", "complete", None, True),
    ],
)
def test_what_counts_as_well(job_type: str, status: str, healthy: bool | None, well: bool) -> None:
    deployment = None if healthy is None else {"Healthy": healthy}
    item = allocation("a[0]", 1, ClientStatus=status, DeploymentStatus=deployment)
    assert nomad_job.is_well(item, job_type) is well


def test_the_story_is_the_newest_failure_with_its_node() -> None:
    states = {"agent": {"State": "dead", "Failed": True, "Events": [{"DisplayMessage": "Exit Code: 1"}]}}
    told = nomad_job.story(
        [allocation("a[0]", 1), allocation("a[0]", 2, TaskStates=states)], lambda *_: "no such file"
    )
    assert told.startswith("On attic (nomad alloc logs 00000002")
    assert "task agent failed: Exit Code: 1. Its last words: no such file" in told


def test_no_place_is_told_with_its_reason() -> None:
    metric = {"ConstraintFiltered": {"missing drivers": 1}, "DimensionExhausted": {"memory": 2}}
    assert nomad_job.blocked_reason({"FailedTGAllocs": {"agent": metric}}) == (
        "no node has room for 'agent': missing drivers, memory"
    )
    assert nomad_job.blocked_reason({"FailedTGAllocs": None}) == ""
