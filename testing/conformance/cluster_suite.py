"""What every `ClusterClient` does.

It owns the claims; who makes the client is the test module's business: subclass `ClusterSuite` and give a
fixture `cluster` of one machine without jobs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pipecatapp.errors import AdapterError
from pipecatapp.ports import ClusterClient

SETTLE_S = 60
"""Time in which a small job starts or ends on a machine that does much else (seconds)."""


def sleeper(job_id: str, count: int = 1, seconds: int = 600) -> dict[str, Any]:
    """Return a job whose group `naps` does nothing."""
    task = {
        "Name": "nap",
        "Driver": "raw_exec",
        "Config": {"command": "/bin/sleep", "args": [str(seconds)]},
        "Resources": {"CPU": 20, "MemoryMB": 16},
    }
    return {
        "ID": job_id,
        "Type": "service",
        "Datacenters": ["*"],
        "TaskGroups": [{"Name": "naps", "Count": count, "Tasks": [task]}],
    }


def errand(job_id: str) -> dict[str, Any]:
    """Return a parameterized job that wants `what`."""
    spec = sleeper(job_id, seconds=0)
    return {**spec, "Type": "batch", "ParameterizedJob": {"MetaRequired": ["what"], "Payload": "optional"}}


async def until(is_true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SETTLE_S):
        while not await is_true():  # noqa: ASYNC110 - the scheduler tells nobody
            await asyncio.sleep(0.1)


async def scale(cluster: ClusterClient, job_id: str, group: str, count: int) -> None:
    """Scale a job once its last change has been brought about."""

    async def is_taken() -> bool:
        try:
            await cluster.scale(job_id, group, count)
        except AdapterError as exc:
            if exc.code != "job-deploying" or not exc.retryable:
                raise
            return False
        return True

    await until(is_taken)


class ClusterSuite:
    async def running(self, cluster: ClusterClient, job_id: str, count: int) -> None:
        async def is_so() -> bool:
            group = (await cluster.job(job_id)).groups[0]
            return (group.wanted, group.running, group.healthy) == (count, count, count)

        await until(is_so)

    async def test_is_a_client_with_a_name(self, cluster: ClusterClient) -> None:
        assert isinstance(cluster, ClusterClient)
        assert cluster.name

    async def test_there_is_a_leader_and_a_machine(self, cluster: ClusterClient) -> None:
        assert ":" in await cluster.leader()
        nodes = await cluster.nodes()
        assert [(node.status, node.is_eligible) for node in nodes] == [("ready", True)]
        assert nodes[0].name and nodes[0].id and nodes[0].address

    async def test_a_job_is_planned_run_and_described(self, cluster: ClusterClient) -> None:
        spec = sleeper("described", 2)
        assert (await cluster.plan(spec)).change == "Added"
        await cluster.run(spec)
        await self.running(cluster, "described", 2)
        job = await cluster.job("described")
        assert (job.id, job.type, job.status, job.is_stopped) == ("described", "service", "running", False)
        assert [group.name for group in job.groups] == ["naps"]
        listed = next(job for job in await cluster.jobs() if job.id == "described")
        assert (listed.status, listed.groups[0].running) == ("running", 2)

    async def test_a_job_that_is_as_wanted_plans_no_change(self, cluster: ClusterClient) -> None:
        spec = sleeper("planned")
        await cluster.run(spec)
        await self.running(cluster, "planned", 1)
        assert (await cluster.plan(spec)).change == "None"
        assert (await cluster.plan(sleeper("planned", 2))).change == "Edited"

    async def test_to_plan_does_nothing(self, cluster: ClusterClient) -> None:
        await cluster.plan(sleeper("only-planned"))
        assert "only-planned" not in [job.id for job in await cluster.jobs()]

    async def test_a_group_sleeps_and_wakes(self, cluster: ClusterClient) -> None:
        await cluster.run(sleeper("scaled"))
        await self.running(cluster, "scaled", 1)
        await scale(cluster, "scaled", "naps", 0)
        await self.running(cluster, "scaled", 0)
        assert not (await cluster.job("scaled")).is_stopped
        await scale(cluster, "scaled", "naps", 1)
        await self.running(cluster, "scaled", 1)

    async def test_allocations_say_where_they_are(self, cluster: ClusterClient) -> None:
        await cluster.run(sleeper("placed"))
        await self.running(cluster, "placed", 1)
        node = (await cluster.nodes())[0].name
        found = [
            (allocation.job, allocation.group, allocation.node, allocation.status, allocation.desired_status)
            for allocation in await cluster.allocations("placed")
        ]
        assert found == [("placed", "naps", node, "running", "run")]

    async def test_a_stopped_job_is_dead_and_a_purged_one_is_forgotten(self, cluster: ClusterClient) -> None:
        await cluster.run(sleeper("stopped"))
        await self.running(cluster, "stopped", 1)
        await cluster.stop("stopped")

        async def is_dead() -> bool:
            job = await cluster.job("stopped")
            return job.status == "dead" and job.is_stopped and job.groups[0].running == 0

        await until(is_dead)
        await cluster.stop("stopped", purge=True)
        assert "stopped" not in [job.id for job in await cluster.jobs()]

    async def test_a_parameterized_job_is_dispatched(self, cluster: ClusterClient) -> None:
        await cluster.run(errand("errand"))
        new_id = await cluster.dispatch("errand", meta={"what": "milk"}, payload=b"two litres")
        assert new_id.startswith("errand/dispatch-")
        assert (await cluster.job(new_id)).id == new_id

    async def test_a_job_that_is_not_there_is_said_in_words(self, cluster: ClusterClient) -> None:
        for ask in (
            lambda: cluster.job("nobody"),
            lambda: cluster.stop("nobody"),
            lambda: cluster.scale("nobody", "naps", 1),
            lambda: cluster.dispatch("nobody", meta={}),
        ):
            with pytest.raises(AdapterError) as failure:
                await ask()
            assert (failure.value.code, failure.value.status) == ("unknown-job", 404)
        assert list(await cluster.allocations("nobody")) == []

    async def test_a_group_that_is_not_there_is_said_in_words(self, cluster: ClusterClient) -> None:
        await cluster.run(sleeper("grouped"))
        await self.running(cluster, "grouped", 1)
        with pytest.raises(AdapterError, match="group") as failure:
            await scale(cluster, "grouped", "nobody", 1)
        assert failure.value.code == "unknown-job"
