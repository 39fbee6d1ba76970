"""Jobs brought about on a real Nomad: once, not twice, failures told; and the shipped job files."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from testing.ansible_code import ROOT
from testing.cluster_agents import NomadAgent, cluster_binary
from testing.cluster_fixtures import nomad_agent
from testing.nomad_modules import hashi_api, nomad_job

__all__ = ["nomad_agent"]

pytestmark = pytest.mark.integration

JOBS = sorted((ROOT / "ansible" / "jobs").glob("*.nomad.hcl"))
NEEDED: dict[str, Any] = {"configuration": "global\n", "image": "twin:1", "memory_mb": 100}
"""Values of variables that have no default, where any of their type will not do."""
BY_TYPE: dict[str, Any] = {"string": "x", "number": 1, "bool": True, "list": [], "map": {}}
VARIABLE = re.compile(r'^variable "(\w+)" {\n(.*?)^}', re.MULTILINE | re.DOTALL)
TIMEOUT_S = 60
JOB = """
variable "seconds" {
  type = string
}
variable "command" {
  type    = string
  default = "/bin/sleep"
}
job "%s" {
  datacenters = ["twin"]
  type        = "%s"
  group "g" {
    restart {
      attempts = 0
      mode     = "fail"
    }
    reschedule {
      attempts  = 0
      unlimited = false
    }
    update {
      min_healthy_time  = "1s"
      healthy_deadline  = "20s"
      progress_deadline = "30s"
    }
    task "t" {
      driver = "raw_exec"
      config {
        command = var.command
        args    = [var.seconds]
      }
      resources {
        cpu    = 10
        memory = 16
      }
    }
  }
}
"""


@pytest.fixture
def nomad(nomad_agent: NomadAgent) -> Any:
    return hashi_api.Api("nomad", nomad_agent.url, nomad_agent.token)


def parse(nomad: Any, text: str, **values: object) -> dict[str, Any]:
    order = {"JobHCL": text, "Variables": nomad_job.variables_text(values), "Canonicalize": True}
    job: dict[str, Any] = nomad.request("POST", "/v1/jobs/parse", order)
    return job


def needed_by(text: str) -> dict[str, Any]:
    """A value for each variable of a job file that has no default."""
    values = {}
    for name, body in VARIABLE.findall(text):
        if not re.search(r"^  default\b", body, re.MULTILINE):
            kind = re.search(r"^  type\s*= (\w+)", body, re.MULTILINE)
            values[name] = NEEDED.get(name, BY_TYPE[kind[1] if kind else "string"])
    return values


def without(text: str, block: str) -> str:
    """The job without a block of its group."""
    return re.sub(rf"    {block} {{\n.*?\n    }}\n", "", text, flags=re.DOTALL)


def run(nomad: Any, text: str, **values: object) -> bool:
    """Bring the job about; whether anything was changed."""
    job = nomad_job.JobRun(nomad, parse(nomad, text, **values), TIMEOUT_S)
    differs: bool = job.differs()
    if not differs:
        kept: bool = job.keep()
        return kept
    job.wait(job.run())
    return True


def test_a_service_is_run_once_and_again_when_a_value_changes(nomad: Any) -> None:
    text = JOB % ("sleeper", "service")
    assert run(nomad, text, seconds="600") is True
    assert run(nomad, text, seconds="600") is False
    assert run(nomad, text, seconds="700") is True


def test_a_system_job_is_waited_for(nomad: Any) -> None:
    text = without(JOB % ("everywhere", "system"), "reschedule")
    assert run(nomad, text, seconds="600") is True
    assert run(nomad, text, seconds="600") is False


def test_a_batch_job_is_waited_for_until_its_end(nomad: Any) -> None:
    assert run(nomad, without(JOB % ("nap", "batch"), "update"), seconds="1") is True


def test_a_batch_job_that_fails_is_told_with_its_task(nomad: Any) -> None:
    with pytest.raises(
        hashi_api.ApiError,
        match="The job 'wrong' failed. On nomad-test .*task t failed: .*invalid time interval",
    ):
        run(nomad, without(JOB % ("wrong", "batch"), "update"), seconds="no number")


def test_a_service_that_does_not_stay_up_is_told(nomad: Any) -> None:
    with pytest.raises(hashi_api.ApiError, match="'falls' did not become well"):
        run(nomad, JOB % ("falls", "service"), seconds="0", command="/bin/false")


def test_what_failed_before_and_runs_now_is_well(nomad: Any, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    program.chmod(0o755)
    text = JOB % ("recovers", "service")
    with pytest.raises(hashi_api.ApiError, match="'recovers' did not become well"):
        run(nomad, text, seconds="600", command=str(program))
    program.write_text("#!/bin/sh\nexec sleep 600\n", encoding="utf-8")

    assert run(nomad, text, seconds="600", command=str(program)) is True
    assert nomad.request("GET", "/v1/job/recovers/summary")["Summary"]["g"]["Running"] == 1
    assert run(nomad, text, seconds="600", command=str(program)) is False


def test_a_job_is_ended_before_it_is_forgotten(nomad: Any) -> None:
    run(nomad, JOB % ("leaves", "service"), seconds="600")
    [allocation] = nomad.request("GET", "/v1/job/leaves/allocations")

    assert nomad_job.purge(nomad, "leaves", TIMEOUT_S) is True
    assert nomad.find("/v1/job/leaves") is None
    left = nomad.find(f"/v1/allocation/{allocation['ID']}")
    assert left is None or left["ClientStatus"] == "complete"
    assert nomad_job.purge(nomad, "leaves", TIMEOUT_S) is False


def test_a_job_of_another_namespace_is_forgotten_too(nomad: Any) -> None:
    nomad.request("PUT", "/v1/namespace/creative", {"Name": "creative"})
    text = JOB.replace('job "%s" {', 'job "%s" {\n  namespace = "creative"') % ("muse/1", "service")
    nomad.request(
        "PUT",
        "/v1/jobs?namespace=creative",
        {"Job": nomad.request("POST", "/v1/jobs/parse", {"JobHCL": text, "Variables": 'seconds = "600"'})},
    )

    assert nomad_job.purge(nomad, "muse/1", TIMEOUT_S) is False
    assert nomad_job.purge(nomad, "muse/1", TIMEOUT_S, "creative") is True
    assert nomad.find("/v1/job/muse%2F1?namespace=creative") is None


def test_a_wrong_token_is_told_and_not_shown(nomad_agent: NomadAgent) -> None:
    stranger = hashi_api.Api("nomad", nomad_agent.url, "11111111-2222-3333-4444-555555555555")
    with pytest.raises(hashi_api.ApiError, match="refused GET /v1/nodes") as caught:
        stranger.request("GET", "/v1/nodes")
    assert "2222" not in str(caught.value)


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name.split(".")[0])
def test_a_shipped_job_is_valid_and_laid_out_by_nomads_own_word(path: Path, nomad: Any) -> None:
    subprocess.run([cluster_binary("nomad"), "fmt", "-check", str(path)], check=True, capture_output=True)
    text = path.read_text(encoding="utf-8")
    job = parse(nomad, text, **needed_by(text))
    answer = nomad.request("PUT", "/v1/validate/job", {"Job": job})
    assert answer["ValidationErrors"] is None, answer
    for group in job["TaskGroups"]:
        assert all(task["Resources"]["MemoryMB"] for task in group["Tasks"])
        for service in group["Services"] or []:
            assert service["Checks"], f"{service['Name']} has no check"


@pytest.mark.parametrize("name", ["llama-expert", "llamacpp-rpc"])
def test_nodes_that_are_named_are_preferred_and_not_demanded(name: str, nomad: Any) -> None:
    text = (ROOT / f"ansible/jobs/{name}.nomad.hcl").read_text(encoding="utf-8")
    needed = needed_by(text)
    [group] = parse(nomad, text, **needed, nodes=["den", "attic"])["TaskGroups"]
    [affinity] = group["Affinities"]
    assert affinity["LTarget"] == "${node.unique.name}"
    assert (affinity["Operand"], affinity["RTarget"]) == ("set_contains_any", "den,attic")
    [group] = parse(nomad, text, **needed)["TaskGroups"]
    assert not group["Affinities"]
