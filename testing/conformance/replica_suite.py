"""What every `MemoryReplica` does.

It owns the claims. Subclass `ReplicaSuite` and give a fixture `replicas`: two connections to one replica that
holds nothing yet, as two instances of the memory service have them.
"""

from __future__ import annotations

import asyncio
import time

import pytest

from pipecatapp.errors import AdapterError
from pipecatapp.ports import REPLICA_FENCED, Fact, KeptTurn, MemoryChange, MemoryReplica, ReplicaHead
from pipecatapp.ports.event_log import GENESIS, Draft, ref_of, verify
from testing.conformance.memory_suite import turn

Replicas = tuple[MemoryReplica, MemoryReplica]
WAIT_S = 60.0
"""A lock that was lost is kept free for a moment."""


async def lead(replica: MemoryReplica, address: str = "http://here") -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not await replica.acquire(address):
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.1)


def facts(count: int, head: ReplicaHead | None = None, *, text: str = "") -> list[MemoryChange]:
    draft = Draft((head.seq, head.hash) if head else (0, GENESIS), 1000.0, "request-1")
    first = head.seq if head else 0
    for number in range(first + 1, first + count + 1):
        draft.add(
            "fact-added",
            f"fact-{number}",
            Fact(id=f"fact-{number}", text=text or f"Box {number}.", created_s=1.0),
        )
    return draft.changes


class ReplicaSuite:
    async def test_an_empty_one_holds_nothing(self, replicas: Replicas) -> None:
        replica = replicas[0]
        assert isinstance(replica, MemoryReplica)
        assert await replica.head() is None
        assert await replica.events(after=0) == []
        assert await replica.items() == []
        assert await replica.holder() == ""

    async def test_one_at_a_time_has_the_lock(self, replicas: Replicas) -> None:
        here, there = replicas
        await lead(here)
        assert await here.acquire("http://here") and await here.renew()
        assert not await there.acquire("http://there")
        assert await there.holder() == "http://here"
        await here.release()
        await lead(there, "http://there")
        assert await here.holder() == "http://there"

    async def test_changes_come_back_in_order_for_everybody(self, replicas: Replicas) -> None:
        here, there = replicas
        await lead(here)
        changes = facts(150)
        head = await here.append(None, changes[:1])
        head = await here.append(head, changes[1:])
        assert head == await there.head()
        assert (head.seq, head.hash) == (150, changes[-1].event.hash)
        assert await there.events(after=0) == [change.event for change in changes]
        assert await there.events(after=120) == [change.event for change in changes[120:]]
        assert await there.items() == [change.item for change in changes]

    async def test_a_turn_comes_back_as_it_was(self, replicas: Replicas) -> None:
        await lead(replicas[0])
        kept = KeptTurn("a/b session ü", turn(1, text='Grüße 🙂 "quoted"\n', interrupted=True))
        draft = Draft((0, GENESIS), 1.0, "request-1")
        draft.add("turn-appended", ref_of(kept), kept)
        await replicas[0].append(None, draft.changes)
        assert [item.content for item in await replicas[0].items()] == [kept]
        assert verify(await replicas[0].events(after=0), await replicas[0].items()).is_intact

    async def test_a_fact_is_said_again_and_removed(self, replicas: Replicas) -> None:
        replica = replicas[0]
        await lead(replica)
        changes = facts(2)
        draft = Draft((2, changes[-1].event.hash), 2.0, "request-2")
        assert changes[0].item is not None
        draft.touch(changes[0].item)
        draft.add("fact-deleted", "fact-2")
        await replica.append(None, [*changes, *draft.changes])
        items = await replica.items()
        assert [(item.origin, item.said) for item in items] == [(1, 3)]
        assert verify(await replica.events(after=0), items).is_intact

    async def test_all_is_replaced_at_once(self, replicas: Replicas) -> None:
        replica = replicas[0]
        await lead(replica)
        head = await replica.append(None, facts(3))
        draft = Draft((head.seq, head.hash), 2.0, "request-2")
        draft.add("state-imported", "100")
        for number in range(100):
            draft.add("fact-added", f"new-{number}", Fact(id=f"new-{number}", text="x" * 3000, created_s=2.0))
        items = [change.item for change in draft.changes if change.item is not None]
        head = await replica.replace(head, [change.event for change in draft.changes], items)
        assert head.seq == 104
        assert await replica.items() == items
        assert verify(await replica.events(after=0), await replica.items()).is_intact
        draft = Draft((head.seq, head.hash), 3.0, "request-3")
        draft.add("all-deleted", "100")
        await replica.replace(head, [draft.changes[0].event], [])
        assert await replica.items() == []
        assert len(await replica.events(after=0)) == 105

    async def test_who_lost_the_lock_changes_nothing(self, replicas: Replicas) -> None:
        here, there = replicas
        await lead(here)
        head = await here.append(None, facts(1))
        await here.release()
        await lead(there)
        changes = facts(1, head)
        for write in (
            here.append(head, changes),
            here.replace(head, [changes[0].event], []),
        ):
            with pytest.raises(AdapterError) as caught:
                await write
            assert caught.value.code == REPLICA_FENCED
        assert await there.head() == head
        assert len(await there.items()) == 1

    async def test_who_has_an_old_head_changes_nothing(self, replicas: Replicas) -> None:
        replica = replicas[0]
        await lead(replica)
        head = await replica.append(None, facts(1))
        newer = await replica.append(head, facts(1, head))
        for old in (None, head):
            with pytest.raises(AdapterError) as caught:
                await replica.append(old, facts(1, old, text="other"))
            assert caught.value.code == REPLICA_FENCED
        assert await replica.head() == newer
        assert [item.content.text for item in await replica.items() if isinstance(item.content, Fact)] == [
            "Box 1.",
            "Box 2.",
        ]

    async def test_what_is_too_long_is_refused_and_changes_nothing(self, replicas: Replicas) -> None:
        await lead(replicas[0])
        with pytest.raises(AdapterError, match="too long") as caught:
            await replicas[0].append(None, facts(1, text="x" * 600_000))
        assert caught.value.status == 413
        assert await replicas[0].head() is None
