"""A node's profile as metadata of a real Nomad, and the job `llama-benchmark` with the real llama-bench."""

from __future__ import annotations

import getpass
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from testing.ansible_code import ROOT
from testing.cluster_agents import NomadAgent
from testing.cluster_fixtures import nomad_agent
from testing.e2e.engine_models import CACHE, MODELS, SMOLLM, llama_binary, model
from testing.plans import PROFILES

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

__all__ = ["nomad_agent"]

JOB = ROOT / "ansible/jobs/benchmark.nomad.hcl"
END_S = 300.0
"""Time in which the job ends on a machine that does much else (seconds)."""


def twin(nomad: NomadAgent, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"NOMAD_ADDR": nomad.url, "NOMAD_TOKEN": nomad.token}
    return subprocess.run(
        [sys.executable, "-m", "pipecatapp", *arguments],
        cwd=ROOT,
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def profile(nomad_agent: NomadAgent) -> str:
    """A recorded profile under this Nomad node's name."""
    [node] = nomad_agent.request("GET", "/nodes")
    recorded = json.loads((PROFILES / "core2-e8400.json").read_text(encoding="utf-8"))
    return json.dumps(recorded | {"node": node["Name"]})


def until_meta(nomad: NomadAgent, key: str) -> None:
    """Wait until the servers know what the client was told; it tells them in batches."""
    [node] = nomad.request("GET", "/nodes")
    deadline_s = time.monotonic() + END_S
    while key not in nomad.request("GET", f"/node/{node['ID']}")["Meta"]:
        assert time.monotonic() < deadline_s, f"the servers were not told of {key}"
        time.sleep(0.2)


def test_a_profile_is_published_once_and_planned_with(nomad_agent: NomadAgent, profile: str) -> None:
    before = twin(nomad_agent, "plan")
    assert before.returncode == 1
    assert "No node of the cluster has published a profile" in before.stderr

    first = twin(nomad_agent, "node", "profile", "--publish", "-", stdin=profile)
    assert first.returncode == 0, first.stderr
    assert "published in Nomad" in first.stdout
    until_meta(nomad_agent, "twin_profile")
    assert "knew it already" in twin(nomad_agent, "node", "profile", "--publish", "-", stdin=profile).stdout

    planned = twin(nomad_agent, "plan", "--json")
    assert planned.returncode == 0, planned.stderr
    assert json.loads(planned.stdout)["experts"][0]["runs"]["model"] == "smollm2-135m"
    [node] = nomad_agent.request("GET", "/nodes")
    meta = nomad_agent.request("GET", f"/node/{node['ID']}")["Meta"]
    assert meta["twin_decode_tokens_s"] == "4.2"

    path = f"/node/{node['ID']}/eligibility"
    try:
        nomad_agent.request("POST", path, {"Eligibility": "ineligible"})
        refused = twin(nomad_agent, "plan")
    finally:
        nomad_agent.request("POST", path, {"Eligibility": "eligible"})
    assert refused.returncode == 1 and f"{node['Name']} takes no work" in refused.stderr


def test_a_profile_of_a_node_that_nomad_does_not_know_is_refused(
    nomad_agent: NomadAgent, profile: str
) -> None:
    strange = json.dumps(json.loads(profile) | {"node": "nowhere"})
    done = twin(nomad_agent, "node", "profile", "--publish", "-", stdin=strange)
    assert done.returncode == 1
    assert "Nomad knows no node 'nowhere'; known: " in done.stderr


def ended(nomad: NomadAgent, count: int) -> list[dict[str, Any]]:
    deadline_s = time.monotonic() + END_S
    found: list[dict[str, Any]] = []
    while time.monotonic() < deadline_s:
        found = nomad.request("GET", "/job/llama-benchmark/allocations")
        over = [each for each in found if each["ClientStatus"] in {"complete", "failed"}]
        if len(over) >= count:
            return over
        time.sleep(0.5)
    raise AssertionError(f"it did not end: {found}")


def test_the_benchmark_runs_on_the_node_again_and_again(nomad_agent: NomadAgent, tmp_path: Path) -> None:
    assert llama_binary("llama-bench") and model(SMOLLM)
    program, data = tmp_path / "twin", tmp_path / "data"
    settings = {"TWIN_DATA_DIR": data, "TWIN_CACHE_DIR": CACHE, "TWIN_MODELS_DIR": MODELS}
    words = " ".join(f"{name}={shlex.quote(str(value))}" for name, value in settings.items())
    program.write_text(
        f'#!/bin/sh\ncd {shlex.quote(str(ROOT))}\nexec env {words} {sys.executable} -m pipecatapp "$@"\n',
        encoding="utf-8",
    )
    program.chmod(0o755)
    values = [
        f'program = "{program}"',
        f'user = "{getpass.getuser()}"',
        'model = "smollm2-135m"',
        "prompt_tokens = 16",
        "answer_tokens = 4",
        "repeats = 1",
        "memory_mb = 100",
    ]
    order = {"JobHCL": JOB.read_text(encoding="utf-8"), "Variables": "\n".join(values)}
    for runs in (1, 2):
        parsed = nomad_agent.request("POST", "/jobs/parse", order)
        nomad_agent.request("PUT", "/jobs", {"Job": parsed})
        allocations = ended(nomad_agent, runs)
        newest = max(allocations, key=lambda each: each["CreateIndex"])
        said = log_of(nomad_agent, newest["ID"])
        assert newest["ClientStatus"] == "complete", said
        assert "reads tokens/s (16)  writes tokens/s (4)" in said
    kept = sorted((data / "benchmarks").glob("*/*.json"))
    assert len(kept) == 2
    [node] = nomad_agent.request("GET", "/nodes")
    result = json.loads(kept[0].read_text(encoding="utf-8"))
    assert (result["node"], result["model"]) == (node["Name"], "smollm2-135m")
    assert all(row["decode_tokens_s"] > 0 for row in result["rows"])


def log_of(nomad: NomadAgent, allocation_id: str) -> str:
    told = ""
    for kind in ("stdout", "stderr"):
        reply = httpx.get(
            f"{nomad.url}/v1/client/fs/logs/{allocation_id}",
            params={"task": "benchmark", "type": kind, "plain": "true"},
            headers={"X-Nomad-Token": nomad.token},
            timeout=10,
            trust_env=False,
        )
        told += reply.text
    return told
