"""`twin cluster status` as a person runs it, on a real Consul and a real Nomad, and without them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.cluster_agents import ConsulAgent, NomadAgent, free_ports
from testing.cluster_fixtures import consul_agent, nomad_agent
from testing.conformance.cluster_suite import sleeper
from testing.https_stub import https_stub

pytestmark = pytest.mark.e2e

__all__ = ["consul_agent", "nomad_agent"]

ROOT = Path(__file__).resolve().parents[3]


def twin(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line with only these settings."""
    return subprocess.run(
        [sys.executable, "-m", "pipecatapp", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def settings(consul_agent: ConsulAgent, nomad_agent: NomadAgent) -> dict[str, str]:
    return {
        "TWIN_CONSUL_URL": consul_agent.url,
        "CONSUL_HTTP_TOKEN": consul_agent.token,
        "NOMAD_ADDR": nomad_agent.url,
        "NOMAD_TOKEN": nomad_agent.token,
    }


@pytest.fixture
def nap(nomad_agent: NomadAgent) -> Iterator[str]:
    nomad_agent.request("POST", "/jobs", {"Job": sleeper("nap")})
    nomad_agent.wait_running("nap")
    yield "nap"
    nomad_agent.request("DELETE", "/job/nap?purge=true")


def test_nodes_leaders_jobs_and_services_are_told(
    settings: dict[str, str], consul_agent: ConsulAgent, nomad_agent: NomadAgent, nap: str
) -> None:
    consul_agent.register("llama-api-main", 4700)
    done = twin("cluster", "status", "--json", **settings)
    told = json.loads(done.stdout)
    assert told["faults"] == []
    assert (done.returncode, told["ok"], done.stderr) == (0, True, "")
    assert (told["consul_leader"], told["nomad_leader"]) == (consul_agent.node, nomad_agent.node)
    states = {node["name"]: (node["role"], node["consul"], node["nomad"]) for node in told["nodes"]}
    assert states == {
        consul_agent.node: ("leader", "alive", "-"),
        nomad_agent.node: ("client", "-", "ready"),
    }
    assert [(job["id"], job["groups"][0]["healthy"]) for job in told["jobs"]] == [(nap, 1)]
    assert {service["name"]: service["passing"] for service in told["services"]}["llama-api-main"] == 1
    table = twin("cluster", "status", **settings).stdout
    assert "Everything is well." in table
    assert "NODE" in table and "llama-api-main" in table and "naps 1/1" in table


def test_a_service_that_fails_is_a_fault(settings: dict[str, str], consul_agent: ConsulAgent) -> None:
    service_id = consul_agent.register("llama-api-ill", 4710, status="critical")
    done = twin("cluster", "status", **settings)
    consul_agent.deregister(service_id)
    assert done.returncode == 1
    assert "service llama-api-ill: 0 of 1 instances pass their checks" in done.stderr


def test_no_consul_here_is_said_and_nomads_half_is_still_told(
    settings: dict[str, str], nomad_agent: NomadAgent
) -> None:
    nowhere = f"http://127.0.0.1:{free_ports(1)[0]}"
    done = twin("cluster", "status", **{**settings, "TWIN_CONSUL_URL": nowhere})
    assert done.returncode == 1
    assert f"There is no Consul at {nowhere}." in done.stderr
    assert nomad_agent.node in done.stdout


@pytest.mark.parametrize("variable", ["CONSUL_HTTP_TOKEN", "NOMAD_TOKEN"])
def test_a_refused_token_is_said_without_showing_it(settings: dict[str, str], variable: str) -> None:
    wrong = "00000000-0000-0000-0000-00000000abcd"
    done = twin("cluster", "status", **{**settings, variable: wrong})
    assert done.returncode == 1
    assert "refused the token" in done.stderr
    assert wrong not in done.stderr + done.stdout


def test_no_token_is_said(settings: dict[str, str]) -> None:
    bare = {name: value for name, value in settings.items() if not name.endswith("TOKEN")}
    done = twin("cluster", "status", **bare)
    assert done.returncode == 1
    assert "Consul at" in done.stderr and "shows nothing to this token" in done.stderr
    assert "Nomad at" in done.stderr and "refused the token" in done.stderr


def test_a_certificate_that_is_not_trusted_is_said(settings: dict[str, str], tmp_path: Path) -> None:
    with https_stub(tmp_path) as (url, ca):
        strange = twin("cluster", "status", **{**settings, "NOMAD_ADDR": url})
        trusted = twin("cluster", "status", **{**settings, "NOMAD_ADDR": url, "NOMAD_CACERT": str(ca)})
    assert strange.returncode == 1
    assert "is not trusted" in strange.stderr and "NOMAD_CACERT" in strange.stderr
    assert "is not trusted" not in trusted.stderr
    assert "is not Nomad" in trusted.stderr


def test_an_authority_that_cannot_be_read_is_said(settings: dict[str, str]) -> None:
    done = twin("cluster", "status", **{**settings, "NOMAD_ADDR": "https://x", "NOMAD_CACERT": "/no/ca.pem"})
    assert done.returncode == 1
    assert "/no/ca.pem cannot be used" in done.stderr


class TestDoctor:
    def test_it_says_what_consul_knows(self, settings: dict[str, str], consul_agent: ConsulAgent) -> None:
        ids = [consul_agent.register("llama-api-main", 4720), consul_agent.register("memory-service", 4721)]
        done = twin("doctor", **settings)
        for service_id in ids:
            consul_agent.deregister(service_id)
        line = (
            f"ok   Consul at {consul_agent.url} answers; experts: main; memory service: http://127.0.0.1:4721"
        )
        assert line in done.stdout

    def test_it_says_that_consul_is_away(self) -> None:
        nowhere = f"http://127.0.0.1:{free_ports(1)[0]}"
        done = twin("doctor", TWIN_CONSUL_URL=nowhere)
        assert done.returncode == 1
        assert f"bad  There is no Consul at {nowhere}." in done.stdout

    def test_without_a_setting_it_says_nothing_of_consul(self) -> None:
        assert "Consul" not in twin("doctor").stdout
