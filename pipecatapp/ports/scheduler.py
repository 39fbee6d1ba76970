"""The cluster's scheduler: jobs, nodes and allocations.

Not here: Nomad's HTTP API (`adapters/nomad`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

JobSpec = Mapping[str, Any]
"""A parsed job, as Nomad's API takes it (`nomad job run -output FILE` prints one)."""


@dataclass(frozen=True, slots=True)
class JobGroup:
    """A group of a job.

    Args:
        name: Within the job.
        wanted: How many allocations there are to be.
        running: How many run.
        healthy: How many run and pass their checks.
    """

    name: str
    wanted: int
    running: int = 0
    healthy: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterJob:
    """A job.

    Args:
        id: Its name.
        type: service, batch, system or sysbatch.
        status: pending, running or dead.
        groups: In the order of their names.
        is_stopped: A person or program stopped it.
    """

    id: str
    type: str
    status: str
    groups: tuple[JobGroup, ...] = ()
    is_stopped: bool = False


@dataclass(frozen=True, slots=True)
class JobPlan:
    """What running a job would do.

    Args:
        change: Added, Edited, Deleted or None, as Nomad's plan says.
        failures: Group to why it would find no place, in words.
    """

    change: str
    failures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterNode:
    """A machine that takes work.

    Args:
        id: The scheduler's.
        name: The machine's.
        address: LAN address.
        status: initializing, ready, disconnected or down.
        is_eligible: False when it is drained or not to be given more.
        version: The scheduler's on it.
    """

    id: str
    name: str
    address: str
    status: str
    is_eligible: bool = True
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """One instance of a group, placed on a node.

    Args:
        id: The scheduler's.
        job: Whose it is.
        group: Which group's.
        node: Name of the machine.
        status: pending, running, complete, failed, lost or unknown.
        desired_status: run or stop.
        reason: Newest word about it, such as why it failed; "" for none.
    """

    id: str
    job: str
    group: str
    node: str
    status: str
    desired_status: str = "run"
    reason: str = ""


@runtime_checkable
class ClusterClient(Protocol):
    """The cluster's scheduler. Every call may raise AdapterError: absent, refused, untrusted."""

    @property
    def name(self) -> str:
        """Which one, in words a person knows."""
        ...

    async def leader(self) -> str:
        """Return the leader's address, "" when there is none."""
        ...

    async def jobs(self) -> list[ClusterJob]:
        """Return every job, by name; `healthy` of groups is not counted here."""
        ...

    async def job(self, job_id: str) -> ClusterJob:
        """Return one job, with how many of each group are healthy.

        Raises:
            AdapterError: `unknown-job` (404) when there is none.
        """
        ...

    async def plan(self, spec: JobSpec) -> JobPlan:
        """Return what `run` would do, and do nothing."""
        ...

    async def run(self, spec: JobSpec) -> None:
        """Start a job, or bring it to `spec`."""
        ...

    async def scale(self, job_id: str, group: str, count: int) -> None:
        """Let `count` (>= 0) instances of a group run; 0 puts it to sleep and keeps the job.

        Raises:
            AdapterError: `unknown-job` (404) when there is no such job or group; `job-deploying`, retryable,
                while the job's last change is still being brought about.
        """
        ...

    async def dispatch(self, job_id: str, *, meta: Mapping[str, str], payload: bytes = b"") -> str:
        """Run a parameterized job once with these values; return the new job's id.

        Raises:
            AdapterError: `unknown-job` (404), or refused because the values are not what it takes.
        """
        ...

    async def stop(self, job_id: str, *, purge: bool = False) -> None:
        """Stop a job; with `purge` also forget it.

        Raises:
            AdapterError: `unknown-job` (404) when there is none.
        """
        ...

    async def nodes(self) -> list[ClusterNode]:
        """Return every machine that takes work, by name."""
        ...

    async def allocations(self, job_id: str) -> Sequence[Allocation]:
        """Return a job's instances, newest first; none for an unknown job."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
