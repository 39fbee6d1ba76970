"""The agents that other tests lean on: they start, deny by default, come back, and leave nothing behind."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from testing.cluster_agents import ConsulAgent, NomadAgent
from testing.cluster_fixtures import consul_agent, nomad_agent

pytestmark = pytest.mark.e2e

__all__ = ["consul_agent", "nomad_agent"]

SLEEPER = {
    "ID": "sleeper",
    "Type": "service",
    "Datacenters": ["twin"],
    "TaskGroups": [
        {
            "Name": "g",
            "Tasks": [
                {
                    "Name": "sleep",
                    "Driver": "raw_exec",
                    "Config": {"command": "/bin/sleep", "args": ["600"]},
                    "Resources": {"CPU": 20, "MemoryMB": 16},
                }
            ],
        }
    ],
}


def names_of(agent: ConsulAgent, token: str) -> set[str]:
    return set(agent.request("GET", "/catalog/services", token=token))


def test_without_a_token_consul_shows_nothing(consul_agent: ConsulAgent) -> None:
    consul_agent.register("secret", 4000)
    reply = httpx.get(f"{consul_agent.url}/v1/catalog/services", timeout=10, trust_env=False)
    assert reply.status_code == 403 or reply.json() == {}
    assert "secret" in names_of(consul_agent, consul_agent.token)


def test_a_policy_limits_a_token(consul_agent: ConsulAgent) -> None:
    consul_agent.register("alpha", 4001)
    consul_agent.register("beta", 4002)
    token = consul_agent.make_token('service "alpha" { policy = "read" } node_prefix "" { policy = "read" }')
    assert names_of(consul_agent, token) == {"alpha"}


def test_without_a_token_nomad_refuses(nomad_agent: NomadAgent) -> None:
    reply = httpx.get(f"{nomad_agent.url}/v1/jobs", timeout=10, trust_env=False)
    assert reply.status_code == 403
    assert nomad_agent.request("GET", "/jobs", token=nomad_agent.make_token()) == []


def test_a_killed_consul_comes_back_with_its_data(tmp_path: Path) -> None:
    with ConsulAgent(tmp_path / "consul") as agent:
        agent.start()
        agent.register("kept", 4003)
        agent.kill()
        agent.start()
        assert "kept" in names_of(agent, agent.token)


def test_a_stopped_nomad_leaves_no_task(tmp_path: Path) -> None:
    with NomadAgent(tmp_path / "nomad") as agent:
        agent.start()
        agent.request("POST", "/jobs", {"Job": SLEEPER})
        agent.wait_running("sleeper")
        agent.kill()
    left = [path for path in Path("/proc").glob("[0-9]*/cwd") if _below(path, tmp_path)]
    assert left == []


def _below(link: Path, folder: Path) -> bool:
    try:
        return link.readlink().is_relative_to(folder)
    except OSError:
        return False
