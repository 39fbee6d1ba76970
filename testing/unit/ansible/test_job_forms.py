"""The agent's two job files, for programs of the node and for containers, are one job but for the driver."""

from __future__ import annotations

import copy
from typing import Any

import hcl2
import pytest
import yaml

from testing.ansible_code import ROOT

pytestmark = pytest.mark.unit

JOBS = ROOT / "ansible" / "jobs"
ONLY_DOCKER = {"image", "models_dir", "data_dir", "cache_dir", "memory_limit_mb"}
"""Variables that name what a container is made of, and what the node lends it."""


def plain(found: Any) -> Any:
    """What the parser found, without its notes and without the quotes of names and texts."""
    if isinstance(found, dict):
        return {bare(name): plain(item) for name, item in found.items() if not name.startswith("__")}
    if isinstance(found, list):
        return [plain(item) for item in found]
    return bare(found) if isinstance(found, str) else found


def bare(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def parsed(name: str) -> dict[str, Any]:
    found: dict[str, Any] = plain(hcl2.loads((JOBS / name).read_text(encoding="utf-8")))
    return found


@pytest.fixture(scope="module")
def node() -> dict[str, Any]:
    return parsed("pipecatapp.nomad.hcl")


@pytest.fixture(scope="module")
def container() -> dict[str, Any]:
    return parsed("pipecatapp-docker.nomad.hcl")


def job_of(file: dict[str, Any]) -> dict[str, Any]:
    (entry,) = file["job"]
    (job,) = entry.values()
    return copy.deepcopy(job)  # type: ignore[no-any-return]


def group_of(job: dict[str, Any]) -> dict[str, Any]:
    (entry,) = job["group"]
    (group,) = entry.values()
    return group  # type: ignore[no-any-return]


def tasks_of(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: task for entry in group_of(job)["task"] for name, task in entry.items()}


def variables_of(file: dict[str, Any]) -> dict[str, Any]:
    return {name: text for entry in file["variable"] for name, text in entry.items()}


def config_of(task: dict[str, Any]) -> dict[str, Any]:
    (config,) = task["config"]
    return config  # type: ignore[no-any-return]


def expression(value: Any) -> str:
    """An attribute's value as the file has it."""
    if isinstance(value, list):
        return f"[{', '.join(map(expression, value))}]"
    return value[2:-1] if value.startswith("${") else f'"{value}"'


def test_the_two_forms_are_one_job_but_for_how_a_task_is_started(
    node: dict[str, Any], container: dict[str, Any]
) -> None:
    assert node["job"][0].keys() == container["job"][0].keys()
    ours, theirs = job_of(node), job_of(container)
    started: dict[str, dict[str, Any]] = {"raw_exec": {}, "docker": {}}
    for job, driver in ((ours, "raw_exec"), (theirs, "docker")):
        for name, task in tasks_of(job).items():
            assert task.pop("driver") == driver
            started[driver][name] = task.pop("config")[0]
    assert theirs == ours
    assert started["raw_exec"].keys() == started["docker"].keys()
    for name, config in started["docker"].items():
        of_node = started["raw_exec"][name]
        command, arguments = config["command"], config["args"]
        # A container ends with the engine's own process of it; a program of the node with Nomad's.
        assert of_node["command"] == "/usr/bin/setpriv"
        guarded = ["--pdeathsig", "TERM", "--", command]
        if isinstance(arguments, list):
            assert of_node["args"] == [*guarded, *arguments]
        else:
            both = f"{expression(guarded)}, {expression(arguments)}"
            assert expression(of_node["args"]) == f"concat({both})"


def test_the_two_forms_take_the_same_variables(node: dict[str, Any], container: dict[str, Any]) -> None:
    ours, theirs = variables_of(node), variables_of(container)
    assert theirs.keys() - ours.keys() == ONLY_DOCKER
    assert {name: theirs[name] for name in ours} == ours


@pytest.mark.parametrize("task", ["llm", "agent"])
def test_a_container_is_given_nothing_that_it_does_not_need(container: dict[str, Any], task: str) -> None:
    config = config_of(tasks_of(job_of(container))[task])
    assert config["readonly_rootfs"] is True
    assert config["cap_drop"] == ["all"]
    assert config["security_opt"] == ["no-new-privileges"]
    assert config["network_mode"] == "host"
    assert config["force_pull"] is False
    writable = [mount["target"] for mount in config["mount"] if not mount.get("readonly")]
    assert writable == ["/var/lib/twin", "/tmp"]


def test_both_tasks_see_the_same_node(container: dict[str, Any]) -> None:
    def lent(task: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in config_of(task).items() if name not in ("command", "args")}

    tasks = tasks_of(job_of(container))
    assert lent(tasks["agent"]) == lent(tasks["llm"])


def test_a_front_stays_on_a_machine_that_does_not_answer_for_a_while() -> None:
    front = group_of(job_of(parsed("ingress.nomad.hcl")))
    hours = int(front["disconnect"][0]["lost_after"].removesuffix("h"))
    assert hours > 365 * 24


def test_a_containers_folders_are_the_registrys(container: dict[str, Any]) -> None:
    registry = yaml.safe_load((ROOT / "group_vars" / "all.yaml").read_text(encoding="utf-8"))
    config = config_of(tasks_of(job_of(container))["agent"])
    targets = {mount["target"] for mount in config["mount"]}
    names = ("twin_models_dir", "twin_data_dir", "twin_cache_dir")
    assert {registry[name] for name in names} <= targets
