"""A scripted scheduler.

It owns jobs and nodes in memory; what is run runs at once, and nothing is executed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pipecatapp.errors import AdapterError
from pipecatapp.ports import Allocation, ClusterJob, ClusterNode, JobGroup, JobPlan, JobSpec


class FakeCluster:
    """A cluster of machines by name, where everything finds a place.

    Args:
        nodes: Names of its machines.
        error: Raised by every call, when set.
    """

    def __init__(self, nodes: Sequence[str] = ("n1",), *, error: AdapterError | None = None) -> None:
        self.error = error
        self.dispatched: list[tuple[str, Mapping[str, str], bytes]] = []
        self.is_closed = False
        self._nodes = [ClusterNode(id=name, name=name, address="127.0.0.1", status="ready") for name in nodes]
        self._specs: dict[str, JobSpec] = {}
        self._counts: dict[str, dict[str, int]] = {}
        self._stopped: set[str] = set()

    @property
    def name(self) -> str:
        return "a fake"

    async def leader(self) -> str:
        self._check()
        return "127.0.0.1:4647"

    async def jobs(self) -> list[ClusterJob]:
        self._check()
        return [self._describe(job_id) for job_id in sorted(self._specs)]

    async def job(self, job_id: str) -> ClusterJob:
        self._known(job_id)
        return self._describe(job_id)

    async def plan(self, spec: JobSpec) -> JobPlan:
        self._check()
        before = self._specs.get(spec["ID"])
        if before is None or spec["ID"] in self._stopped:
            return JobPlan("Added")
        return JobPlan("None" if before == spec else "Edited")

    async def run(self, spec: JobSpec) -> None:
        self._check()
        job_id = spec["ID"]
        self._specs[job_id] = spec
        self._counts[job_id] = {group["Name"]: group.get("Count", 1) for group in spec["TaskGroups"]}
        self._stopped.discard(job_id)

    async def scale(self, job_id: str, group: str, count: int) -> None:
        self._known(job_id)
        if group not in self._counts[job_id]:
            raise AdapterError("unknown-job", f"the fake has no group {group}", status=404)
        self._counts[job_id][group] = count

    async def dispatch(self, job_id: str, *, meta: Mapping[str, str], payload: bytes = b"") -> str:
        self._known(job_id)
        self.dispatched.append((job_id, dict(meta), payload))
        new_id = f"{job_id}/dispatch-{len(self.dispatched)}"
        await self.run({**self._specs[job_id], "ID": new_id})
        return new_id

    async def stop(self, job_id: str, *, purge: bool = False) -> None:
        self._known(job_id)
        self._stopped.add(job_id)
        if purge:
            del self._specs[job_id]

    async def nodes(self) -> list[ClusterNode]:
        self._check()
        return list(self._nodes)

    async def allocations(self, job_id: str) -> Sequence[Allocation]:
        self._check()
        if job_id not in self._specs:
            return []
        alive = Allocation(id="", job=job_id, group="", node=self._nodes[0].name, status="running")
        if job_id in self._stopped:
            alive = replace(alive, status="complete", desired_status="stop")
        return [
            replace(alive, id=f"{job_id}-{group}-{number}", group=group)
            for group, count in self._counts[job_id].items()
            for number in range(count)
        ]

    async def close(self) -> None:
        self.is_closed = True

    def _check(self) -> None:
        if self.error is not None:
            raise self.error

    def _known(self, job_id: str) -> None:
        self._check()
        if job_id not in self._specs:
            raise AdapterError("unknown-job", f"the fake has no job {job_id}", status=404)

    def _describe(self, job_id: str) -> ClusterJob:
        is_stopped = job_id in self._stopped
        groups = [
            JobGroup(name, count, 0 if is_stopped else count, 0 if is_stopped else count)
            for name, count in sorted(self._counts[job_id].items())
        ]
        status = "dead" if is_stopped else "running"
        return ClusterJob(
            id=job_id,
            type=self._specs[job_id]["Type"],
            status=status,
            groups=tuple(groups),
            is_stopped=is_stopped,
        )
