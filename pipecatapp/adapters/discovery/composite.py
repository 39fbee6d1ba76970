"""A directory that adds fixed endpoints to another one.

It owns the joining; what the other says, and how fresh it is, is the other's.
"""

from __future__ import annotations

from collections.abc import Iterable

from pipecatapp.ports import DirectoryState, Endpoint, ServiceDirectory


class CompositeDirectory:
    """A directory and some endpoints more.

    Args:
        directory: The one that changes; closed with this one.
        extra: What there is besides; always passing.
    """

    def __init__(self, directory: ServiceDirectory, extra: Iterable[Endpoint]) -> None:
        self._directory = directory
        self._extra = tuple(extra)

    @property
    def name(self) -> str:
        """Where what changes comes from."""
        return self._directory.name

    @property
    def version(self) -> int:
        """A number that grows with every change."""
        return self._directory.version

    def healthy(self, name: str) -> tuple[Endpoint, ...]:
        """Return the instances of service `name` that pass their checks, in the order of their ids."""
        return self._joined(self._directory.healthy(name), name)

    def instances(self, name: str) -> tuple[Endpoint, ...]:
        """Return every instance of service `name`, in the order of their ids."""
        return self._joined(self._directory.instances(name), name)

    def services(self, prefix: str = "") -> tuple[str, ...]:
        """Return the services with that prefix that have an instance, sorted."""
        extra = {endpoint.service for endpoint in self._extra if endpoint.service.startswith(prefix)}
        return tuple(sorted({*self._directory.services(prefix), *extra}))

    def state(self) -> DirectoryState:
        """Return how far what changes can be trusted."""
        return self._directory.state()

    async def wait_for_change(self, version: int) -> int:
        """Wait until `version` is no longer the newest; return the newest."""
        return await self._directory.wait_for_change(version)

    async def close(self) -> None:
        """Stop following."""
        await self._directory.close()

    def _joined(self, found: tuple[Endpoint, ...], name: str) -> tuple[Endpoint, ...]:
        extra = [endpoint for endpoint in self._extra if endpoint.service == name]
        return tuple(sorted((*found, *extra), key=lambda endpoint: endpoint.id)) if extra else found
