"""What the playbooks' module asks of a real Consul and a real Nomad when a server leaves.

One server cannot hand over to another; that a house of three does is tested in testing/cluster.
"""

from __future__ import annotations

from typing import Any

import pytest

from testing.ansible_code import load_library
from testing.cluster_agents import ConsulAgent, NomadAgent
from testing.cluster_fixtures import consul_agent, nomad_agent

__all__ = ["consul_agent", "nomad_agent"]

pytestmark = pytest.mark.integration

control_plane = load_library("control_plane")
cluster_leave = load_library("cluster_leave")
RAFT = "/v1/operator/raft/configuration"
UNDERSTOOD = (200, 500)
"""It handed over, or says why it does not; anything else says that the question was wrong."""


@pytest.fixture(params=["consul", "nomad"])
def api(request: pytest.FixtureRequest) -> Any:
    """Where to ask, as the management token."""
    agent: ConsulAgent | NomadAgent = request.getfixturevalue(f"{request.param}_agent")
    return control_plane.Api(request.param, agent.url, agent.token)


def test_the_question_to_hand_over_is_understood(api: Any) -> None:
    [server] = api.get(RAFT)["Servers"]
    status, answer = cluster_leave.transfer(api, server["ID"])
    assert status in UNDERSTOOD, answer


def test_a_leader_without_another_server_stays_and_says_so(api: Any) -> None:
    [server] = api.get(RAFT)["Servers"]
    name = server["Node"].split(".")[0]
    with pytest.raises(control_plane.ApiError, match="there is no other server"):
        cluster_leave.hand_over(api, name, 1.5)


def test_who_does_not_lead_has_nothing_to_hand_over(api: Any) -> None:
    cluster_leave.hand_over(api, "attic", 1.5)
