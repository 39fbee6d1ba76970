"""A scripted directory of services.

It owns what it was told, and pretends that its source went away; it asks nobody.
"""

from __future__ import annotations

import asyncio

from pipecatapp.ports import Clock, DirectoryState, Endpoint
from testing.fakes.fake_clock import FakeClock


class FakeDirectory:
    """A directory that says what it is told to.

    Args:
        clock: Time, for the age of what is stale.
    """

    def __init__(self, *endpoints: Endpoint, clock: Clock | None = None) -> None:
        self._clock = clock or FakeClock()
        self._endpoints = {endpoint.id: endpoint for endpoint in endpoints}
        self._version = 0
        self._lost_s: float | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self.is_closed = False

    @property
    def name(self) -> str:
        return "a fake"

    @property
    def version(self) -> int:
        return self._version

    def healthy(self, name: str) -> tuple[Endpoint, ...]:
        return tuple(endpoint for endpoint in self.instances(name) if endpoint.passing)

    def instances(self, name: str) -> tuple[Endpoint, ...]:
        found = [endpoint for endpoint in self._endpoints.values() if endpoint.service == name]
        return tuple(sorted(found, key=lambda endpoint: endpoint.id))

    def services(self, prefix: str = "") -> tuple[str, ...]:
        services = {endpoint.service for endpoint in self._endpoints.values()}
        return tuple(sorted(name for name in services if name.startswith(prefix)))

    def state(self) -> DirectoryState:
        if self._lost_s is None:
            return DirectoryState(is_stale=False)
        return DirectoryState(True, self._clock.monotonic_s() - self._lost_s, "the fake went away")

    async def wait_for_change(self, version: int) -> int:
        while self._version == version:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter
        return self._version

    def put(self, endpoint: Endpoint) -> None:
        """Add an instance, or replace the one of its id."""
        self._endpoints[endpoint.id] = endpoint
        self._tell()

    def remove(self, endpoint_id: str) -> None:
        """Take an instance out."""
        del self._endpoints[endpoint_id]
        self._tell()

    def go_away(self) -> None:
        """Lose the source: what is known stays, and is stale."""
        self._lost_s = self._clock.monotonic_s()
        self._tell()

    def come_back(self) -> None:
        """Have the source again."""
        self._lost_s = None
        self._tell()

    async def close(self) -> None:
        self.is_closed = True

    def _tell(self) -> None:
        self._version += 1
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)
