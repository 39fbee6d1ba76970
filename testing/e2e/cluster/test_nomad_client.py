"""The scheduler's client on a real Nomad: the port's suite, refusals, absence, plans without a place."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from pipecatapp.adapters.consul.http import TokenSource
from pipecatapp.adapters.nomad.client import NomadClient
from pipecatapp.errors import AdapterError
from testing.cluster_agents import NomadAgent, free_ports
from testing.cluster_fixtures import nomad_agent
from testing.conformance.cluster_suite import ClusterSuite, sleeper, until

pytestmark = pytest.mark.e2e

__all__ = ["nomad_agent"]


@pytest.fixture
async def cluster(nomad_agent: NomadAgent) -> AsyncIterator[NomadClient]:
    client = NomadClient(nomad_agent.url, TokenSource(nomad_agent.token))
    yield client
    for job in await client.jobs():
        await client.stop(job.id, purge=True)
    await client.close()


class TestNomad(ClusterSuite):
    async def test_a_plan_says_why_there_is_no_place(self, cluster: NomadClient) -> None:
        spec = sleeper("huge")
        spec["TaskGroups"][0]["Tasks"][0]["Resources"]["MemoryMB"] = 10_000_000
        plan = await cluster.plan(spec)
        assert plan.failures == {"naps": "1 nodes looked at, memory"}

    async def test_a_failed_allocation_says_why(self, cluster: NomadClient) -> None:
        spec = sleeper("broken")
        spec["TaskGroups"][0]["Tasks"][0]["Config"] = {"command": "/nowhere/at/all"}
        spec["TaskGroups"][0]["RestartPolicy"] = {"Attempts": 0, "Mode": "fail"}
        await cluster.run(spec)

        async def has_failed() -> bool:
            found = await cluster.allocations("broken")
            return bool(found) and found[-1].status == "failed"

        await until(has_failed)
        assert any("/nowhere/at/all" in found.reason for found in await cluster.allocations("broken"))


async def test_a_token_that_may_only_read_may_not_run(nomad_agent: NomadAgent) -> None:
    client = NomadClient(nomad_agent.url, TokenSource(nomad_agent.make_token()))
    assert await client.jobs() == []
    with pytest.raises(AdapterError, match="refused the token") as failure:
        await client.run(sleeper("forbidden"))
    assert (failure.value.code, failure.value.retryable) == ("nomad-refused", False)
    await client.close()


async def test_no_token_is_refused(nomad_agent: NomadAgent) -> None:
    client = NomadClient(nomad_agent.url, TokenSource())
    with pytest.raises(AdapterError, match="refused the token"):
        await client.jobs()
    await client.close()


async def test_no_nomad_is_said_in_words() -> None:
    client = NomadClient(f"http://127.0.0.1:{free_ports(1)[0]}", TokenSource())
    with pytest.raises(AdapterError, match="There is no Nomad") as failure:
        await client.leader()
    assert failure.value.retryable
    await client.close()


async def test_a_nomad_that_hangs_is_said_in_words(nomad_agent: NomadAgent) -> None:
    client = NomadClient(nomad_agent.url, TokenSource(nomad_agent.token), timeout_s=1)
    nomad_agent.pause()
    try:
        with pytest.raises(AdapterError, match="does not answer"):
            await client.jobs()
    finally:
        nomad_agent.resume()
    await client.close()
