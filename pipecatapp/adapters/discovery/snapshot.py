"""A snapshot of the services in a directory, and waiting for its next version.

It owns the snapshot, its version and its staleness; where the knowledge comes from is its filler's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from pipecatapp.ports import Clock, DirectoryState, Endpoint


class ServiceSnapshot:
    """The snapshot behind a `ServiceDirectory`.

    Args:
        clock: Time, for the age of stale knowledge.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._services: dict[str, tuple[Endpoint, ...]] = {}
        self._version = 0
        self._reason = ""
        self._heard_s = clock.monotonic_s()
        self._turned = asyncio.Event()

    @property
    def version(self) -> int:
        """A number that grows with every change."""
        return self._version

    def healthy(self, name: str) -> tuple[Endpoint, ...]:
        """Return the passing instances of service `name`."""
        return tuple(endpoint for endpoint in self.instances(name) if endpoint.passing)

    def instances(self, name: str) -> tuple[Endpoint, ...]:
        """Return every instance of service `name`."""
        return self._services.get(name, ())

    def services(self, prefix: str = "") -> tuple[str, ...]:
        """Return the services with that prefix that have an instance, sorted."""
        return tuple(sorted(name for name in self._services if name.startswith(prefix)))

    def state(self) -> DirectoryState:
        """Return how far this can be trusted."""
        if not self._reason:
            return DirectoryState(is_stale=False)
        return DirectoryState(True, self._clock.monotonic_s() - self._heard_s, self._reason)

    async def wait_for_change(self, version: int) -> int:
        """Wait until `version` is no longer the newest; return the newest."""
        while self._version == version:
            await self._turned.wait()
        return self._version

    def put(self, name: str, endpoints: Iterable[Endpoint]) -> None:
        """Write down every instance of a service; none takes the service out."""
        instances = tuple(sorted(endpoints, key=lambda endpoint: endpoint.id))
        if instances == self.instances(name):
            return
        if instances:
            self._services[name] = instances
        else:
            del self._services[name]
        self._turn()

    def mark_stale(self, reason: str) -> None:
        """Write down that the source does not answer, and why."""
        if not self._reason:
            self._turn()
        self._reason = reason

    def mark_fresh(self) -> None:
        """Write down that the source answers."""
        self._heard_s = self._clock.monotonic_s()
        if self._reason:
            self._reason = ""
            self._turn()

    def _turn(self) -> None:
        """Tell all who wait; who waits next waits for the next turn."""
        self._version += 1
        self._turned.set()
        self._turned = asyncio.Event()


class SnapshotDirectory:
    """The reading half of a `ServiceDirectory`, from a snapshot; who fills it is the subclass's business.

    Args:
        clock: Time, for the age of stale knowledge.
    """

    def __init__(self, clock: Clock) -> None:
        self._snapshot = ServiceSnapshot(clock)

    @property
    def version(self) -> int:
        """A number that grows with every change."""
        return self._snapshot.version

    def healthy(self, name: str) -> tuple[Endpoint, ...]:
        """Return the passing instances of service `name`."""
        return self._snapshot.healthy(name)

    def instances(self, name: str) -> tuple[Endpoint, ...]:
        """Return every instance of service `name`."""
        return self._snapshot.instances(name)

    def services(self, prefix: str = "") -> tuple[str, ...]:
        """Return the known services with that prefix that have an instance, sorted."""
        return self._snapshot.services(prefix)

    def state(self) -> DirectoryState:
        """Return whether what it says is fresh, and since when it is not."""
        return self._snapshot.state()

    async def wait_for_change(self, version: int) -> int:
        """Wait until `version` is no longer the newest; return the newest."""
        return await self._snapshot.wait_for_change(version)
