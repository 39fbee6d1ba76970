"""The cluster's scheduler, Nomad, over its HTTP API.

It owns the requests and the shapes of the answers. python-nomad is not used: it blocks, and its class for
jobs does not know how to scale one.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from pipecatapp.adapters.consul.http import TokenSource
from pipecatapp.adapters.http.errors import agent_errors, map_http_errors
from pipecatapp.adapters.tls.trust import client_context
from pipecatapp.errors import AdapterError
from pipecatapp.ports import Allocation, ClusterJob, ClusterNode, JobGroup, JobPlan, JobSpec

CONNECT_TIMEOUT_S = 3.0
"""A server on the LAN accepts within milliseconds (seconds)."""
ANSWER_TIMEOUT_S = 15.0
"""Longest wait for an answer (seconds); a plan on a Core 2 Duo takes about one."""
_MOST_REASONS = 6
"""How many reasons for a group without a place are told."""
_ABSENT = ("not found", "does not exist")
_DEPLOYING = "blocked due to active deployment"
_CONSEQUENCES = {
    "Not Restarting",
    "Restarting",
    "Alloc Unhealthy",
    "Sibling Task Failed",
    "Killing",
    "Killed",
}
"""Types of events that say what followed, not what happened."""


class NomadClient:
    """A connection to one Nomad agent.

    Args:
        url: Such as https://127.0.0.1:4646.
        token: What to show.
        ca: Certificate authority (PEM) of an https address; the system's when None.
        timeout_s: Longest wait for an answer (seconds, > 0).
    """

    def __init__(
        self, url: str, token: TokenSource, *, ca: Path | None = None, timeout_s: float = ANSWER_TIMEOUT_S
    ) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S),
            verify=client_context(ca) if self.url.startswith("https:") else True,
            trust_env=False,
        )

    @property
    def name(self) -> str:
        """Which Nomad."""
        return f"Nomad at {self.url}"

    async def leader(self) -> str:
        """Return the leader's address, "" when there is none."""
        return str(await self._ask("GET", "/status/leader") or "")

    async def jobs(self) -> list[ClusterJob]:
        """Return every job, by name."""
        found = [_job(stub, stub.get("JobSummary") or {}) for stub in await self._ask("GET", "/jobs")]
        return sorted(found, key=lambda job: job.id)

    async def job(self, job_id: str) -> ClusterJob:
        """Return one job, with how many of each group are healthy."""
        spec = await self._ask("GET", _path(job_id))
        summary = await self._ask("GET", f"{_path(job_id)}/summary")
        healthy: dict[str, int] = {}
        for allocation in await self._ask("GET", f"{_path(job_id)}/allocations"):
            # Without a deployment, as in batch and system jobs, there is no word on health: to run is enough.
            state = (allocation.get("DeploymentStatus") or {}).get("Healthy")
            if (allocation["ClientStatus"], allocation["DesiredStatus"]) != ("running", "run"):
                continue
            if state is not False:
                healthy[allocation["TaskGroup"]] = healthy.get(allocation["TaskGroup"], 0) + 1
        # A system job has one on each node that fits; only its summary knows how many those are.
        is_everywhere = spec["Type"] in {"system", "sysbatch"}
        wanted = {} if is_everywhere else {group["Name"]: int(group["Count"]) for group in spec["TaskGroups"]}
        return _job(spec, summary, wanted, healthy)

    async def plan(self, spec: JobSpec) -> JobPlan:
        """Return what `run` would do."""
        body = {"Job": dict(spec), "Diff": True}
        answer = await self._ask("PUT", f"{_path(str(spec['ID']))}/plan", body)
        failed = answer.get("FailedTGAllocs") or {}
        return JobPlan(
            (answer.get("Diff") or {}).get("Type", "None"),
            {group: _no_place(metrics) for group, metrics in failed.items()},
        )

    async def run(self, spec: JobSpec) -> None:
        """Start a job, or bring it to `spec`."""
        await self._ask("PUT", "/jobs", {"Job": dict(spec)})

    async def scale(self, job_id: str, group: str, count: int) -> None:
        """Let `count` instances of a group run."""
        await self._ask("PUT", f"{_path(job_id)}/scale", {"Count": count, "Target": {"Group": group}})

    async def dispatch(self, job_id: str, *, meta: Mapping[str, str], payload: bytes = b"") -> str:
        """Run a parameterized job once; return the new job's id."""
        body = {"Meta": dict(meta), "Payload": base64.b64encode(payload).decode() or None}
        return str((await self._ask("PUT", f"{_path(job_id)}/dispatch", body))["DispatchedJobID"])

    async def stop(self, job_id: str, *, purge: bool = False) -> None:
        """Stop a job."""
        await self._ask("GET", _path(job_id))  # Nomad stops a job that is not there without a word.
        await self._ask("DELETE", f"{_path(job_id)}?purge={str(purge).lower()}")

    async def nodes(self) -> list[ClusterNode]:
        """Return every machine that takes work, by name."""
        found = [
            ClusterNode(
                id=node["ID"],
                name=node["Name"],
                address=node["Address"],
                status=node["Status"],
                is_eligible=node["SchedulingEligibility"] == "eligible" and not node["Drain"],
                version=node["Version"],
            )
            for node in await self._ask("GET", "/nodes")
        ]
        return sorted(found, key=lambda node: node.name)

    async def node_meta(self, node_id: str) -> dict[str, str]:
        """Return a node's metadata, what was set at run time included."""
        found = (await self._ask("GET", f"/node/{quote(node_id, safe='')}")).get("Meta") or {}
        return {str(key): str(value) for key, value in found.items()}

    async def set_node_meta(self, node_id: str, meta: Mapping[str, str]) -> None:
        """Set metadata of a node while it runs; it is kept over restarts, and needs `node:write`.

        See developer.hashicorp.com/nomad/api-docs/client, Update Dynamic Node Metadata.
        """
        await self._ask("POST", f"/client/metadata?node_id={quote(node_id, safe='')}", {"Meta": dict(meta)})

    async def allocations(self, job_id: str) -> Sequence[Allocation]:
        """Return a job's instances, newest first."""
        found = await self._ask("GET", f"{_path(job_id)}/allocations")
        found.sort(key=lambda allocation: allocation["CreateIndex"], reverse=True)
        return [
            Allocation(
                id=allocation["ID"],
                job=allocation["JobID"],
                group=allocation["TaskGroup"],
                node=allocation["NodeName"],
                status=allocation["ClientStatus"],
                desired_status=allocation["DesiredStatus"],
                reason=_newest_word(allocation),
            )
            for allocation in found
        ]

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _ask(self, method: str, path: str, body: object = None) -> Any:
        with map_http_errors(agent_errors("Nomad", self.url)):
            reply = await self._client.request(
                method, f"{self.url}/v1{path}", json=body, headers=self._headers()
            )
        if reply.status_code != httpx.codes.OK:
            raise self._refusal(reply)
        try:
            return reply.json()
        except ValueError as exc:
            raise AdapterError(
                "nomad-nonsense",
                f"What answers at {self.url} is not Nomad.",
                hint="Set NOMAD_ADDR to a Nomad agent, such as https://127.0.0.1:4646.",
            ) from exc

    def _headers(self) -> Mapping[str, str]:
        token = self._token.read()
        return {"X-Nomad-Token": token} if token else {}

    def _refusal(self, reply: httpx.Response) -> AdapterError:
        words = " ".join(reply.text.split())[:300] or "no reason given"
        if reply.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            return AdapterError(
                "nomad-refused",
                f"{self.name} refused the token ({words}).",
                hint="NOMAD_TOKEN must allow it; on a controller root has /etc/nomad.d/management_token.",
            )
        if reply.status_code == httpx.codes.NOT_FOUND or any(word in words for word in _ABSENT):
            return AdapterError("unknown-job", f"{self.name} has no such job or group ({words}).", status=404)
        if _DEPLOYING in words:
            message = f"{self.name} is still bringing the job's last change about."
            return AdapterError("job-deploying", message, hint="Try again when it is well.", retryable=True)
        is_passing = reply.status_code >= httpx.codes.INTERNAL_SERVER_ERROR
        return AdapterError(
            "nomad-failed", f"{self.name} answered {reply.status_code}: {words}", retryable=is_passing
        )


def _path(job_id: str) -> str:
    return f"/job/{quote(job_id, safe='')}"


def _job(
    job: Mapping[str, Any],
    summary: Mapping[str, Any],
    wanted: Mapping[str, int] | None = None,
    healthy: Mapping[str, int] | None = None,
) -> ClusterJob:
    """Return a job from its stub or whole, and its summary; a stub does not say how many are wanted."""
    counts: Mapping[str, Any] = summary.get("Summary") or {}
    groups = []
    for name in sorted(set(counts) | set(wanted or ())):
        running = int(counts.get(name, {}).get("Running", 0))
        starting = int(counts.get(name, {}).get("Starting", 0)) + int(counts.get(name, {}).get("Queued", 0))
        groups.append(
            JobGroup(
                name,
                wanted=(wanted or {}).get(name, running + starting),
                running=running,
                healthy=(healthy or {}).get(name, 0),
            )
        )
    return ClusterJob(
        id=job["ID"],
        type=job["Type"],
        status=job["Status"],
        groups=tuple(groups),
        is_stopped=bool(job.get("Stop")),
    )


def _no_place(metrics: Mapping[str, Any]) -> str:
    """Return why a group finds no place, in words."""
    reasons = [*(metrics.get("ConstraintFiltered") or {}), *(metrics.get("DimensionExhausted") or {})]
    looked_at = f"{metrics.get('NodesEvaluated', 0)} nodes looked at"
    return ", ".join([looked_at, *reasons[:_MOST_REASONS]])


def _newest_word(allocation: Mapping[str, Any]) -> str:
    """Return the newest event of an allocation's tasks; causes before consequences, failed tasks first."""
    events = [
        (
            bool(task.get("Failed")),
            event.get("Type") not in _CONSEQUENCES,
            int(event["Time"]),
            str(event.get("DisplayMessage") or event.get("Type") or ""),
        )
        for task in (allocation.get("TaskStates") or {}).values()
        for event in task.get("Events") or ()
    ]
    return max(events)[3] if events else str(allocation.get("ClientDescription") or "")
