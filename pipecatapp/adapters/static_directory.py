"""A directory of services inside one process, for a machine that stands alone.

It owns nothing but what it was told; it is never stale.
"""

from __future__ import annotations

from collections.abc import Iterable

from pipecatapp.adapters.service_book import ServiceBook
from pipecatapp.ports import Clock, DirectoryState, Endpoint


class StaticDirectory:
    """Services that this process knows of by itself.

    Args:
        clock: Time.
        endpoints: What there is from the beginning.
    """

    def __init__(self, clock: Clock, endpoints: Iterable[Endpoint] = ()) -> None:
        self._book = ServiceBook(clock)
        for endpoint in endpoints:
            self.add(endpoint)

    @property
    def name(self) -> str:
        """What it is."""
        return "this machine alone"

    @property
    def version(self) -> int:
        """A number that grows with every change."""
        return self._book.version

    def current(self, name: str) -> tuple[Endpoint, ...]:
        """Return the passing instances of service `name`."""
        return self._book.current(name)

    def known(self, name: str) -> tuple[Endpoint, ...]:
        """Return every instance of service `name`."""
        return self._book.known(name)

    def names(self, prefix: str = "") -> tuple[str, ...]:
        """Return the services with that prefix, sorted."""
        return self._book.names(prefix)

    def state(self) -> DirectoryState:
        """Return that it is to be trusted."""
        return self._book.state()

    async def changed(self, version: int) -> int:
        """Wait until `version` is no longer the newest; return the newest."""
        return await self._book.changed(version)

    def add(self, endpoint: Endpoint) -> None:
        """Add an instance, in place of one of the same id."""
        others = [known for known in self.known(endpoint.service) if known.id != endpoint.id]
        self._book.put(endpoint.service, [*others, endpoint])

    def remove(self, service: str, endpoint_id: str) -> None:
        """Take an instance out; nothing happens when it is not there."""
        self._book.put(service, [known for known in self.known(service) if known.id != endpoint_id])

    async def close(self) -> None:
        """Do nothing: it follows nobody."""
