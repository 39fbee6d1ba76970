"""What the playbooks' module asks of a real Consul and a real Nomad when a server leaves.

One server cannot hand over to another; that a house of three does is tested in testing/cluster.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from testing.ansible_code import load_library
from testing.cluster_agents import ConsulAgent, NomadAgent
from testing.cluster_fixtures import consul_agent, nomad_agent

__all__ = ["consul_agent", "nomad_agent"]

pytestmark = pytest.mark.integration

hashi_api = load_library("hashi_api")
cluster_leave = load_library("cluster_leave")
RAFT = "/v1/operator/raft/configuration"
VOTE_TIMEOUT_S = 60.0
EXPEL_TIMEOUT_S = 30.0
UNDERSTOOD = (200, 500)
"""It handed over, or says why it does not; anything else says that the question was wrong."""


@pytest.fixture(params=["consul", "nomad"])
def api(request: pytest.FixtureRequest) -> Any:
    """Where to ask, as the management token."""
    agent: ConsulAgent | NomadAgent = request.getfixturevalue(f"{request.param}_agent")
    return hashi_api.Api(request.param, agent.url, agent.token)


def test_the_question_to_hand_over_is_understood(api: Any) -> None:
    [server] = api.get(RAFT)["Servers"]
    status, answer = cluster_leave.transfer(api, server["ID"])
    assert status in UNDERSTOOD, answer


def test_a_leader_without_another_server_stays_and_says_so(api: Any) -> None:
    [server] = api.get(RAFT)["Servers"]
    name = server["Node"].split(".")[0]
    with pytest.raises(hashi_api.ApiError, match="there is no other server"):
        cluster_leave.hand_over(api, name, 1.5)


def test_who_does_not_lead_has_nothing_to_hand_over(api: Any) -> None:
    cluster_leave.hand_over(api, "attic", 1.5)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, NomadAgent]]:
    """A Nomad server, as who may do everything, and a second one that has a vote until a test takes it."""
    folder = tmp_path_factory.mktemp("pair")
    with NomadAgent(folder / "first", node="first") as first:
        first.start()
        nomad = hashi_api.Api("nomad", first.url, first.token)
        with NomadAgent(folder / "second", beside=first, node="second") as second:
            second.start()
            deadline_s = time.monotonic() + VOTE_TIMEOUT_S
            while sum(server["Voter"] for server in nomad.get(RAFT)["Servers"]) < 2:
                assert time.monotonic() < deadline_s, first.log_tail()
                time.sleep(0.2)
            yield nomad, second


def state_of(nomad: Any, node: str) -> str:
    members = nomad.get("/v1/agent/members")["Members"]
    return next((member["Status"] for member in members if member["Name"] == f"{node}.global"), "")


def test_the_others_are_asked_where_they_are(pair: tuple[Any, NomadAgent]) -> None:
    nomad, second = pair
    [other] = cluster_leave.others_of(nomad, second.node)
    assert other.url == nomad.url
    assert cluster_leave.expel_by_any([], second.node, 1.0) is False


def test_a_server_that_has_just_stopped_gets_no_vote_back(pair: tuple[Any, NomadAgent]) -> None:
    nomad, second = pair
    # As the module does on the machine itself: the vote goes while it can be agreed on.
    assert cluster_leave.drop_vote(nomad, second.node)
    second.kill()
    assert state_of(nomad, second.node) == "alive", "to the leader it is one that may have a vote"

    assert cluster_leave.expel(nomad, second.node, EXPEL_TIMEOUT_S)

    assert state_of(nomad, second.node) in cluster_leave.GONE
    assert [server["Node"] for server in nomad.get(RAFT)["Servers"]] == ["first.global"]
    assert not cluster_leave.expel(nomad, second.node, EXPEL_TIMEOUT_S), (
        "a second time there is nothing to do"
    )
