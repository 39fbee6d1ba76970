"""A node of a real Nomad is emptied and takes jobs again, by the playbooks' module."""

from __future__ import annotations

import time
from typing import Any

import pytest

from testing.ansible_code import load_library
from testing.cluster_agents import NomadAgent
from testing.cluster_fixtures import nomad_agent

__all__ = ["nomad_agent"]

pytestmark = pytest.mark.integration

hashi_api = load_library("hashi_api")
nomad_drain = load_library("nomad_drain")
DEADLINE_S = 30
START_TIMEOUT_S = 60.0


def job(name: str, kind: str) -> dict[str, Any]:
    """A job that sleeps."""
    task = {
        "Name": "t",
        "Driver": "raw_exec",
        "Config": {"command": "/bin/sleep", "args": ["600"]},
        "Resources": {"CPU": 10, "MemoryMB": 16},
        "KillTimeout": 10**9,
    }
    group = {"Name": "g", "Count": 1, "Tasks": [task]}
    return {"Job": {"ID": name, "Name": name, "Type": kind, "Datacenters": ["*"], "TaskGroups": [group]}}


def running(api: Any) -> set[str]:
    """The jobs that run."""
    return {item["JobID"] for item in api.get("/v1/allocations") if item["ClientStatus"] == "running"}


def orders(api: Any, name: str) -> list[str]:
    """The evaluations of a job that somebody has asked for."""
    found = api.get(f"/v1/job/{name}/evaluations")
    return [item["ID"] for item in found if item["TriggeredBy"] == "job-register"]


def wait_until_running(api: Any, *names: str) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while running(api) != set(names):
        assert time.monotonic() < deadline_s, running(api)
        time.sleep(0.2)


def test_a_node_is_emptied_and_takes_jobs_again(nomad_agent: NomadAgent) -> None:
    api = hashi_api.Api("nomad", nomad_agent.url, nomad_agent.token)
    [name] = {node["Name"] for node in api.get("/v1/nodes")}
    for kind in ("service", "system"):
        api.call("PUT", "/v1/jobs", job(f"a-{kind}", kind))
    wait_until_running(api, "a-service", "a-system")

    node = nomad_drain.node_named(api, name)
    assert not nomad_drain.is_as_wanted(node, True)
    nomad_drain.change(api, node, True, True, DEADLINE_S)
    assert running(api) == {"a-system"}
    assert nomad_drain.is_as_wanted(nomad_drain.node_named(api, name), True)

    nomad_drain.change(api, node, False, False, DEADLINE_S)
    assert nomad_drain.is_as_wanted(nomad_drain.node_named(api, name), False)
    wait_until_running(api, "a-service", "a-system")

    nomad_drain.change(api, nomad_drain.node_named(api, name), True, False, DEADLINE_S)
    assert running(api) == set()
    before = len(orders(api, "a-system"))
    nomad_drain.change(api, nomad_drain.node_named(api, name), False, False, DEADLINE_S)
    # What belongs on every node is looked for at once; Nomad alone may leave the node without it.
    assert len(orders(api, "a-system")) == before + 1
    wait_until_running(api, "a-service", "a-system")


def test_a_node_that_is_not_there_is_none(nomad_agent: NomadAgent) -> None:
    api = hashi_api.Api("nomad", nomad_agent.url, nomad_agent.token)
    assert nomad_drain.node_named(api, "attic") is None


def test_a_token_that_may_not_is_told(nomad_agent: NomadAgent) -> None:
    api = hashi_api.Api("nomad", nomad_agent.url, nomad_agent.token)
    [node] = api.get("/v1/nodes")
    stranger = hashi_api.Api("nomad", nomad_agent.url, "11111111-2222-3333-4444-555555555555")
    with pytest.raises(hashi_api.ApiError, match="answers 403 to a drain"):
        nomad_drain.change(stranger, node, True, False, DEADLINE_S)
