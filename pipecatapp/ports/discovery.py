"""Service discovery: instances of services and the directory that follows them.

Not here: where a directory gets its knowledge (`adapters/consul`, `adapters/discovery`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One instance of a service.

    Args:
        service: The service's name, such as `llama-api-main`.
        id: Name of this instance, unlike any other's.
        node: The machine that runs it.
        address: Address or name to connect to.
        port: TCP port.
        tags: As registered, such as `pool=main`.
        passing: Whether every health check of it passes.
        meta: What it says of itself, as registered.
        external_base_url: Base URL, ending in /v1, of a server that is no service of the house; "" for one
            that is.
    """

    service: str
    id: str
    node: str
    address: str
    port: int
    tags: tuple[str, ...] = ()
    passing: bool = True
    meta: Mapping[str, str] = field(default_factory=dict, hash=False)
    external_base_url: str = ""

    @property
    def url(self) -> str:
        """Its HTTP address, without a path."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}"

    @property
    def base_url(self) -> str:
        """Where its OpenAI-compatible interface begins."""
        return self.external_base_url or f"{self.url}/v1"


@dataclass(frozen=True, slots=True)
class DirectoryState:
    """How far a directory can be trusted.

    Args:
        is_stale: What it says is what it last knew; its source does not answer.
        age_s: Time since the source was last heard, 0 while it answers (seconds).
        reason: Why it is stale, in words; "" when it is not.
    """

    is_stale: bool
    age_s: float = 0.0
    reason: str = ""


@runtime_checkable
class ServiceDirectory(Protocol):
    """Which services there are and where; it follows changes by itself.

    Questions are answered from the last snapshot, without IO. When its source is gone, the snapshot stays
    and is marked stale.
    """

    @property
    def name(self) -> str:
        """Where its knowledge comes from, in words a person knows."""
        ...

    @property
    def version(self) -> int:
        """A number that grows with every change of the snapshot or its staleness."""
        ...

    def healthy(self, name: str) -> tuple[Endpoint, ...]:
        """Return the instances of service `name` that pass their checks, in the order of their ids."""
        ...

    def instances(self, name: str) -> tuple[Endpoint, ...]:
        """Return every instance of service `name`, those that fail their checks included."""
        ...

    def services(self, prefix: str = "") -> tuple[str, ...]:
        """Return the services with that prefix that have an instance, passing or not, sorted."""
        ...

    def state(self) -> DirectoryState:
        """Return how far this can be trusted."""
        ...

    async def wait_for_change(self, version: int) -> int:
        """Wait until `version` is no longer the newest; return the newest."""
        ...

    async def close(self) -> None:
        """Stop following."""
        ...
