"""The shipped job `health-check` on a real Nomad, whose task gets its Consul token by workload identity."""

from __future__ import annotations

import getpass
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from testing.cluster_agents import ConsulAgent, NomadAgent
from testing.cluster_fixtures import consul_agent
from testing.e2e.service import Service
from testing.fakes.fake_llm import FakeLlm
from testing.fakes.openai_server import KEY, OpenAiServer, serving

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

__all__ = ["consul_agent"]

ROOT = Path(__file__).resolve().parents[3]
JOB = ROOT / "ansible/jobs/health-check.nomad.hcl"
END_S = 120.0
"""Time in which the job ends on a machine that does much else (seconds)."""


@pytest.fixture(scope="module")
def nomad(consul_agent: ConsulAgent, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NomadAgent]:
    """A Nomad whose jobs Consul lets in."""
    with NomadAgent(tmp_path_factory.mktemp("nomad"), consul_agent) as agent:
        yield agent.start()


@pytest.fixture(scope="module")
def agent_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page of an agent made of stand-ins behind the real web layer."""
    command = (sys.executable, "-m", "testing.bench.standin_agent")
    service = Service(tmp_path_factory.mktemp("standin"), command=command).start()
    yield service.base_url
    service.stop()


@pytest.fixture
def expert(consul_agent: ConsulAgent) -> Iterator[OpenAiServer]:
    """An expert `main` in Consul."""
    with serving(OpenAiServer(llm=FakeLlm(("Water is a liquid.",)))) as server:
        service_id = consul_agent.register("llama-api-main", urlsplit(server.url).port or 0)
        yield server
        consul_agent.deregister(service_id)


class Check:
    """The job as the role runs it, but for the ports, which are this test's."""

    def __init__(self, nomad: NomadAgent, consul: ConsulAgent, agent_url: str, folder: Path) -> None:
        self._nomad = nomad
        self._consul = consul
        self._agent_url = agent_url
        self._program = folder / "twin"
        place, python = shlex.quote(str(ROOT)), shlex.quote(sys.executable)
        script = f'#!/bin/sh\ncd {place}\nexec {python} -m pipecatapp "$@"\n'
        self._program.write_text(script, encoding="utf-8")
        self._program.chmod(0o755)

    def run(self, *arguments: str) -> tuple[str, str]:
        """Run the job; return its allocation's last state and what it printed."""
        words = ", ".join(f'"{argument}"' for argument in arguments)
        values = [
            f'program = "{self._program}"',
            f'user = "{getpass.getuser()}"',
            f"arguments = [{words}]",
            f'run = "{time.time_ns()}"',
        ]
        order = {"JobHCL": JOB.read_text(encoding="utf-8"), "Variables": "\n".join(values)}
        job: dict[str, Any] = self._nomad.request("POST", "/jobs/parse", order)
        environment = job["TaskGroups"][0]["Tasks"][0]["Env"]
        environment |= {
            "TWIN_CONSUL_URL": self._consul.url,
            "TWIN_PORT": str(urlsplit(self._agent_url).port),
            "LLM_API_KEY": KEY,
        }
        self._nomad.request("PUT", "/jobs", {"Job": job})
        allocation = self._ended(job["ID"])
        said = self._said(allocation["ID"])
        self._nomad.request("DELETE", f"/job/{job['ID']}?purge=true")
        return allocation["ClientStatus"], said

    def _ended(self, job_id: str) -> dict[str, Any]:
        deadline_s = time.monotonic() + END_S
        while time.monotonic() < deadline_s:
            found = self._nomad.request("GET", f"/job/{job_id}/allocations")
            ended = [each for each in found if each["ClientStatus"] in {"complete", "failed"}]
            if ended:
                newest: dict[str, Any] = max(ended, key=lambda each: each["CreateIndex"])
                return newest
            time.sleep(0.2)
        raise AssertionError(f"{job_id} did not end: {found}")

    def _said(self, allocation_id: str) -> str:
        reply = httpx.get(
            f"{self._nomad.url}/v1/client/fs/logs/{allocation_id}",
            params={"task": "check", "type": "stdout", "plain": "true"},
            headers={"X-Nomad-Token": self._nomad.token},
            timeout=10,
            trust_env=False,
        )
        assert reply.status_code == 200, reply.text
        return reply.text


@pytest.fixture
def check(nomad: NomadAgent, consul_agent: ConsulAgent, agent_url: str, tmp_path: Path) -> Check:
    return Check(nomad, consul_agent, agent_url, tmp_path)


def test_the_job_completes_when_everybody_answers(check: Check, expert: OpenAiServer) -> None:
    status, said = check.run()
    assert "ok   main (consul-test" in said
    assert "ok   agent" in said
    assert status == "complete"


def test_the_job_fails_when_an_expert_is_missing(check: Check, expert: OpenAiServer) -> None:
    status, said = check.run("main", "math")
    assert "BAD  math: missing: Consul knows no llama-api-math" in said
    assert status == "failed"


def test_the_job_fails_when_an_expert_does_not_complete_its_prompt(
    check: Check, expert: OpenAiServer
) -> None:
    expert.failure = "busy"
    status, said = check.run()
    assert "BAD  main" in said and "refused (503)" in said
    assert status == "failed"
