"""Removing a machine: each step that may fail says how to go on, and none leaves a drained machine behind."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from testing.ansible_code import ROOT

pytestmark = pytest.mark.unit

PLAYS = yaml.safe_load((ROOT / "playbooks/remove_node.yaml").read_text(encoding="utf-8"))


def blocks() -> dict[str, dict[str, Any]]:
    return {task["name"]: task for play in PLAYS for task in play.get("tasks", []) if "block" in task}


def called(tasks: list[dict[str, Any]]) -> list[str]:
    return [
        task["ansible.builtin.include_role"]["tasks_from"]
        for task in tasks
        if task.get("ansible.builtin.include_role", {}).get("name") == "membership"
    ]


def test_a_machine_that_keeps_its_vote_gets_its_jobs_back() -> None:
    step = blocks()["Take its jobs and its vote"]
    assert called(step["block"]) == ["drain", "vote"]
    assert called(step["rescue"]) == ["let_back"]


@pytest.mark.parametrize(
    "name",
    ["Take its jobs and its vote", "Close it down", "Let the next one be the first", "Forget it"],
)
def test_what_cannot_be_undone_says_how_to_finish(name: str) -> None:
    said = blocks()[name]["rescue"][-1]
    assert "-e gone=true" in str([said["ansible.builtin.fail"]["msg"], said.get("vars", {})])


def test_every_step_that_changes_something_is_rescued() -> None:
    loose = [called([task]) for play in PLAYS for task in play.get("tasks", []) if "block" not in task]
    assert {name for names in loose for name in names} <= {"check"}
