"""A fixed directory inside one process, for a machine that stands alone.

It owns nothing but what it was told; it is never stale.
"""

from __future__ import annotations

from collections.abc import Iterable

from pipecatapp.adapters.discovery.snapshot import SnapshotDirectory
from pipecatapp.ports import Clock, Endpoint


class StaticDirectory(SnapshotDirectory):
    """Services that this process knows of by itself.

    Args:
        clock: Time.
        endpoints: What there is from the beginning.
    """

    def __init__(self, clock: Clock, endpoints: Iterable[Endpoint] = ()) -> None:
        super().__init__(clock)
        for endpoint in endpoints:
            self.add(endpoint)

    @property
    def name(self) -> str:
        """What it is."""
        return "this machine alone"

    def add(self, endpoint: Endpoint) -> None:
        """Add an instance, in place of one of the same id."""
        others = [known for known in self.instances(endpoint.service) if known.id != endpoint.id]
        self._snapshot.put(endpoint.service, [*others, endpoint])

    def remove(self, service: str, endpoint_id: str) -> None:
        """Take an instance out; nothing happens when it is not there."""
        self._snapshot.put(service, [known for known in self.instances(service) if known.id != endpoint_id])

    async def close(self) -> None:
        """Do nothing: it follows nobody."""
