"""A replica of the memory in this process.

It owns what two instances share, the lock, and failures at will; it forgets everything with the process.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from pipecatapp.errors import AdapterError
from pipecatapp.ports import (
    REPLICA_FENCED,
    REPLICA_UNAVAILABLE,
    MemoryChange,
    MemoryEvent,
    MemoryItem,
    ReplicaHead,
)
from pipecatapp.ports.event_log import key_of


@dataclass
class Shared:
    """What all instances see."""

    events: list[MemoryEvent] = field(default_factory=list)
    items: dict[tuple[str, str], MemoryItem] = field(default_factory=dict)
    head: ReplicaHead | None = None
    lock: FakeReplica | None = None
    address: str = ""
    marks: itertools.count[int] = field(default_factory=lambda: itertools.count(1))


class FakeReplica:
    """One instance's connection.

    Args:
        shared: What all instances see.
    """

    name = "the fake replica"

    def __init__(self, shared: Shared, *, lease_s: float = 0.3) -> None:
        self._shared = shared
        self.lease_s = lease_s
        self.failure = ""
        """"", "away", or "lost": the next write is done and its reply lost, and then it is away."""
        self.is_closed = False

    async def acquire(self, address: str) -> bool:
        self._reach()
        if self._shared.lock not in (None, self):
            return False
        self._shared.lock, self._shared.address = self, address
        return True

    async def renew(self) -> bool:
        self._reach()
        return self._shared.lock is self

    async def release(self) -> None:
        self._reach()
        if self._shared.lock is self:
            self._shared.lock = None

    async def holder(self) -> str:
        self._reach()
        return self._shared.address if self._shared.lock else ""

    async def head(self) -> ReplicaHead | None:
        self._reach()
        return self._shared.head

    async def events(self, *, after: int) -> list[MemoryEvent]:
        self._reach()
        return [event for event in self._shared.events if event.seq > after]

    async def items(self) -> list[MemoryItem]:
        self._reach()
        return sorted(self._shared.items.values(), key=lambda item: item.origin)

    async def append(self, head: ReplicaHead | None, changes: Sequence[MemoryChange]) -> ReplicaHead:
        self._check(head)
        if any(
            isinstance(text := getattr(change.item and change.item.content, "text", ""), str)
            and len(text) > 500_000
            for change in changes
        ):
            raise AdapterError("memory-too-large", "This is too long to be remembered.", status=413)
        for change in changes:
            self._shared.events.append(change.event)
            if change.event.kind == "fact-deleted":
                self._shared.items.pop(("fact", change.event.ref), None)
            elif change.item is not None:
                self._shared.items[key_of(change.item.content)] = change.item
        return self._done(changes[-1].event)

    async def replace(
        self, head: ReplicaHead | None, events: Sequence[MemoryEvent], items: Sequence[MemoryItem]
    ) -> ReplicaHead:
        self._check(head)
        self._shared.events += events
        self._shared.items = {key_of(item.content): item for item in items}
        return self._done(events[-1])

    async def close(self) -> None:
        self.is_closed = True

    def _reach(self) -> None:
        if self.failure == "away":
            raise AdapterError(REPLICA_UNAVAILABLE, "The fake replica is away.", retryable=True)

    def _check(self, head: ReplicaHead | None) -> None:
        self._reach()
        if self._shared.lock is not self or self._shared.head != head:
            raise AdapterError(REPLICA_FENCED, "Another instance leads.", retryable=True)

    def _done(self, event: MemoryEvent) -> ReplicaHead:
        self._shared.head = ReplicaHead(event.seq, event.hash, str(next(self._shared.marks)))
        if self.failure == "lost":
            self.failure = "away"
            self._reach()
        return self._shared.head
