"""What counts as a fault of the cluster, and the table that a person reads."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipecatapp.cli.cluster import format_status
from pipecatapp.ops.cluster_status import ClusterStatus, NodeStatus, ServiceStatus
from pipecatapp.ports import ClusterJob, JobGroup

pytestmark = pytest.mark.unit

N1 = NodeStatus(name="n1", address="10.0.0.1", role="leader", consul="alive", nomad="ready")
N2 = NodeStatus(name="n2", address="10.0.0.2", role="client", consul="alive", nomad="ready")
AGENT = ClusterJob(id="pipecat-app", type="service", status="running", groups=(JobGroup("agent", 2, 2, 2),))
WELL = ClusterStatus(
    consul_leader="n1",
    nomad_leader="n1",
    nodes=(N1, N2),
    jobs=(AGENT,),
    services=(ServiceStatus("pipecat-app", 2, 2, ("n1", "n2")),),
    errors=(),
)


def test_a_cluster_that_is_well_has_no_faults() -> None:
    assert WELL.faults() == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"nomad_leader": ""}, "Nomad has no leader"),
        ({"nodes": (N1, replace(N2, consul="failed"))}, "node n2: Consul says failed, Nomad says ready"),
        ({"nodes": (N1, replace(N2, nomad="down"))}, "node n2: Consul says alive, Nomad says down"),
        (
            {"jobs": (replace(AGENT, groups=(JobGroup("agent", 2, 2, 1),)),)},
            "job pipecat-app: 1 of 2 of group agent are well",
        ),
        (
            {"services": (ServiceStatus("llama-api-main", 0, 1, ("n1",)),)},
            "service llama-api-main: 0 of 1 instances pass their checks",
        ),
        ({"errors": ("There is no Nomad at x.",), "nomad_leader": ""}, "There is no Nomad at x."),
    ],
)
def test_what_is_not_well_is_said_in_a_sentence(change: dict[str, object], words: str) -> None:
    assert replace(WELL, **change).faults() == [words]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "job",
    [
        replace(AGENT, is_stopped=True, groups=(JobGroup("agent", 2, 0, 0),)),
        replace(AGENT, groups=(JobGroup("agent", 0, 0, 0),)),
        ClusterJob(id="health-check", type="batch", status="dead", groups=(JobGroup("check", 1, 0, 0),)),
    ],
    ids=["stopped", "asleep", "done"],
)
def test_a_job_that_is_not_to_run_is_no_fault(job: ClusterJob) -> None:
    assert replace(WELL, jobs=(job,)).faults() == []


def test_the_table_can_be_read() -> None:
    assert "\n".join(format_status(WELL)) == (
        "leaders: Consul n1, Nomad n1\n"
        "\n"
        "NODE  ADDRESS   ROLE    CONSUL  NOMAD\n"
        "n1    10.0.0.1  leader  alive   ready\n"
        "n2    10.0.0.2  client  alive   ready\n"
        "\n"
        "JOB          TYPE     STATUS   WELL\n"
        "pipecat-app  service  running  agent 2/2\n"
        "\n"
        "SERVICE      PASSING  NODES\n"
        "pipecat-app  2/2      n1, n2"
    )


def test_an_empty_cluster_is_a_line() -> None:
    nothing = ClusterStatus(
        consul_leader="",
        nomad_leader="",
        nodes=(),
        jobs=(),
        services=(),
        errors=("There is no Consul at x.",),
    )
    assert list(format_status(nothing)) == ["leaders: Consul none, Nomad none"]
