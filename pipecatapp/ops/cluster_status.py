"""Status of the cluster, gathered from Consul and Nomad.

It owns what is asked and how it fits together; one of the two that does not answer leaves its half empty,
with the reason. A person's table is the command line's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipecatapp.adapters.consul.directory import endpoints_of
from pipecatapp.adapters.consul.http import ConsulHttp
from pipecatapp.errors import AdapterError
from pipecatapp.ports import ClusterClient, ClusterJob

ABSENT = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """A machine: what Consul and Nomad say of it ("-" for nothing)."""

    name: str
    address: str
    role: str = ABSENT
    consul: str = ABSENT
    nomad: str = ABSENT

    @property
    def is_well(self) -> bool:
        """Whether it is there for both."""
        return self.consul in ("alive", ABSENT) and self.nomad in ("ready", ABSENT)


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """A service: how many of its instances pass, and on which machines they are."""

    name: str
    passing: int
    instances: int
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStatus:
    """The cluster at one moment.

    Args:
        consul_leader: Name or address; "" for none.
        nomad_leader: The same for Nomad.
        nodes: By name.
        jobs: By name.
        services: By name.
        errors: What kept a half from being told, with what to do.
    """

    consul_leader: str
    nomad_leader: str
    nodes: tuple[NodeStatus, ...]
    jobs: tuple[ClusterJob, ...]
    services: tuple[ServiceStatus, ...]
    errors: tuple[str, ...]

    def faults(self) -> list[str]:
        """Return what is not as it should be, in words."""
        found = list(self.errors)
        if not self.errors:
            found += [f"{who} has no leader" for who, leader in self._leaders() if not leader]
        found += [
            f"node {node.name}: Consul says {node.consul}, Nomad says {node.nomad}"
            for node in self.nodes
            if not node.is_well
        ]
        found += [
            f"job {job.id}: {group.healthy} of {group.wanted} of group {group.name} are well"
            for job in self.jobs
            if job.type in {"service", "system"} and not job.is_stopped
            for group in job.groups
            if group.healthy < group.wanted
        ]
        found += [
            f"service {service.name}: {service.passing} of {service.instances} instances pass their checks"
            for service in self.services
            if service.passing < service.instances
        ]
        return found

    def _leaders(self) -> list[tuple[str, str]]:
        return [("Consul", self.consul_leader), ("Nomad", self.nomad_leader)]


async def fetch(consul: ConsulHttp, nomad: ClusterClient) -> ClusterStatus:
    """Ask both; never raises AdapterError, which becomes one of the view's errors."""
    errors: list[str] = []
    catalogue, work = await asyncio.gather(_catalogue(consul, errors), _work(nomad, errors))
    nodes = dict(catalogue.nodes)
    for node in work.nodes:
        known = nodes.get(node.name, NodeStatus(name=node.name, address=node.address, role="client"))
        nodes[node.name] = replace(known, nomad=node.nomad)
    return ClusterStatus(
        consul_leader=catalogue.leader,
        nomad_leader=work.leader,
        nodes=tuple(nodes[name] for name in sorted(nodes)),
        jobs=tuple(work.jobs),
        services=tuple(catalogue.services),
        errors=tuple(errors),
    )


@dataclass(frozen=True, slots=True)
class _Catalogue:
    leader: str
    nodes: dict[str, NodeStatus]
    services: Sequence[ServiceStatus]


@dataclass(frozen=True, slots=True)
class _Work:
    leader: str
    nodes: Sequence[NodeStatus]
    jobs: Sequence[ClusterJob]


async def _catalogue(consul: ConsulHttp, errors: list[str]) -> _Catalogue:
    try:
        leader = str((await consul.get("/status/leader")).value or "")
        servers = {_host(peer) for peer in (await consul.get("/status/peers")).value}
        listed = await consul.get("/catalog/nodes")
        checks = (await consul.get("/health/state/any", filter='CheckID == "serfHealth"')).value
        if not listed.value:  # There is always Consul's own node.
            raise AdapterError(
                "consul-refused",
                f"Consul at {consul.url} shows nothing to this token.",
                hint="CONSUL_HTTP_TOKEN must allow node:read and service:read; on a controller, be root.",
            )
        nodes = _nodes(listed.value, checks, leader, servers)
        services = [
            await _service(consul, name) for name in sorted((await consul.get("/catalog/services")).value)
        ]
    except AdapterError as exc:
        errors.append(" ".join([exc.message, exc.hint]).strip())
        return _Catalogue("", {}, ())
    names = {node.address: node.name for node in nodes.values()}
    return _Catalogue(names.get(_host(leader), leader), nodes, services)


def _nodes(listed: Any, checks: Any, leader: str, servers: set[str]) -> dict[str, NodeStatus]:
    states = {check["Node"]: check["Status"] for check in checks}
    nodes = {}
    for node in listed:
        name, address = node["Node"], node["Address"]
        role = "server" if address in servers else "client"
        if address == _host(leader):
            role = "leader"
        state = "alive" if states.get(name) == "passing" else "failed"
        nodes[name] = NodeStatus(name=name, address=address, role=role, consul=state)
    return nodes


async def _service(consul: ConsulHttp, name: str) -> ServiceStatus:
    endpoints = endpoints_of(name, (await consul.get(f"/health/service/{name}")).value)
    return ServiceStatus(
        name,
        sum(endpoint.passing for endpoint in endpoints),
        len(endpoints),
        tuple(sorted({endpoint.node for endpoint in endpoints})),
    )


async def _work(nomad: ClusterClient, errors: list[str]) -> _Work:
    try:
        leader = await nomad.leader()
        found = await nomad.nodes()
        jobs = [await nomad.job(job.id) for job in await nomad.jobs()]
    except AdapterError as exc:
        errors.append(" ".join([exc.message, exc.hint]).strip())
        return _Work("", (), ())
    nodes = [
        NodeStatus(
            name=node.name,
            address=node.address,
            nomad=node.status if node.is_eligible or node.status != "ready" else "drained",
        )
        for node in found
    ]
    names = {node.address: node.name for node in found}
    return _Work(names.get(_host(leader), leader), nodes, jobs)


def _host(address: str) -> str:
    """Return the host of `host:port`."""
    return address.rpartition(":")[0].strip("[]")
