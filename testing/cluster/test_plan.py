"""The nodes measure themselves, a plan is made of what they published, and the job that compares models runs.

The tests go on from one another, in order, on the house that `test_house` has brought up.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from testing.cluster.house import ROOT, WITH_TOKEN, House, say, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

BENCHMARK_TIMEOUT_S = 300.0
PUBLISHED_TIMEOUT_S = 30.0


def published(house: House, node_id: str) -> str:
    """A node's profile, as the servers know it a little later."""
    return wait_for(
        "a profile",
        lambda: str(house.nomad(f"/v1/node/{node_id}")["Meta"].get("twin_profile", "")),
        PUBLISHED_TIMEOUT_S,
    )


def test_every_node_measures_itself_and_publishes_it(house: House) -> None:
    house.play("playbooks/measure.yaml", log="measure")

    for entry in house.nomad("/v1/nodes"):
        profile = json.loads(published(house, entry["ID"]))
        assert profile["node"] == entry["Name"]
        speeds = {found["threads"]: found["decode_tokens_s"] for found in profile["speeds"]}
        assert speeds and min(speeds.values()) > 0
        say(f"  {entry['Name']} writes with {profile['model']}, tokens/s by threads: {speeds}")


def test_measured_once_they_are_not_measured_again(house: House) -> None:
    assert house.play("playbooks/measure.yaml", log="measure-again").changes == []


def test_a_plan_is_made_of_what_they_published(house: House) -> None:
    text = house.nodes[0].run("bash", "-c", f"{WITH_TOKEN}; twin plan --embedded").stdout
    say(text)
    plan = json.loads(house.nodes[0].run("bash", "-c", f"{WITH_TOKEN}; twin plan --embedded --json").stdout)
    assert {node["node"] for node in plan["nodes"]} == {node.name for node in house.nodes}
    [main] = (placed for placed in plan["experts"] if placed["expert"] == "main")
    assert main["runs"]["server"] in {node.name for node in house.nodes}
    assert plan["commands"]


def test_a_plan_is_brought_about(house: House, tmp_path: Path) -> None:
    for entry in house.nomad("/v1/nodes"):
        (tmp_path / f"{entry['Name']}.json").write_text(published(house, entry["ID"]), encoding="utf-8")
    plan = [sys.executable, "-m", "pipecatapp", "plan", "--embedded", "--profiles", str(tmp_path)]
    where = {
        "ANSIBLE_INVENTORY": str(house.cluster.inventory),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    environment = house.cluster.environment() | where

    def run(*more: str) -> str:
        command = house.cluster.outside(*plan, *more)
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=900
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        return done.stdout

    proposed = json.loads(run("--json"))
    run("--apply", "--yes")
    try:
        for placed in proposed["experts"]:
            if placed["runs"] is not None:
                found = house.consul(f"/v1/health/service/llama-api-{placed['expert']}?passing")
                assert [item["Node"]["Node"] for item in found] == [placed["runs"]["server"]]
        assert "391" in house.chat(house.nodes[0], "What is 17 times 23?")["text"]
    finally:
        for command in proposed["commands"]:
            wish = json.loads(command[-1]) | {"state": "absent"}
            house.play("playbooks/deploy_expert.yaml", variables=wish, log="plan-absent")


def test_the_benchmark_is_run_as_the_readme_says_and_each_node_keeps_its_results(house: House) -> None:
    command = "nomad job run -detach /opt/nomad/jobs/benchmark.nomad"
    house.nodes[0].run("bash", "-c", f"{WITH_TOKEN}; {command}")

    def ended() -> list[str]:
        found = house.nomad("/v1/job/llama-benchmark/allocations")
        states = [item["ClientStatus"] for item in found]
        assert len(states) == len(house.nodes) and set(states) <= {"complete", "failed"}, states
        return states

    assert set(wait_for("the benchmark's end", ended, BENCHMARK_TIMEOUT_S)) == {"complete"}
    for node in house.nodes:
        [kept] = (node.root / "var/lib/twin/benchmarks" / node.name).glob("*.json")
        assert json.loads(kept.read_text(encoding="utf-8"))
