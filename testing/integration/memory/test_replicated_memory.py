"""The replicated memory: what becomes of a change when the replica's answer is lost, late, or another's."""

from __future__ import annotations

import asyncio
import copy
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from pipecatapp.adapters.memory.sqlite_faiss import SqliteFaissStore
from pipecatapp.app.clock import SystemClock
from pipecatapp.errors import AdapterError
from pipecatapp.memory.replicated_memory import ReplicatedMemory
from pipecatapp.ports import MemoryChange, MemoryState
from testing.conformance.memory_suite import STATE, turn
from testing.conformance.replica_suite import ReplicaSuite
from testing.fakes.fake_clock import FakeClock
from testing.fakes.fake_embedder import FakeEmbedder
from testing.fakes.fake_replica import FakeReplica, Shared

pytestmark = pytest.mark.integration

WAIT_S = 60.0


class TestFakeReplica(ReplicaSuite):
    @pytest.fixture
    def replicas(self) -> tuple[FakeReplica, FakeReplica]:
        shared = Shared()
        return FakeReplica(shared), FakeReplica(shared)


class House:
    """Instances of the memory service in one process, and what they share."""

    def __init__(self, folder: Path) -> None:
        self.shared = Shared()
        self.folder = folder
        self.memories: dict[str, ReplicatedMemory] = {}
        self.replicas: dict[str, FakeReplica] = {}
        self.embedders: dict[str, FakeEmbedder] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.sqlite"

    async def start(self, name: str, *, role: str = "leading", wait: bool = True) -> ReplicatedMemory:
        self.embedders[name] = FakeEmbedder()
        store = SqliteFaissStore(self.path(name), self.embedders[name], FakeClock())
        self.replicas[name] = FakeReplica(self.shared)

        async def hand_over(address: str, changes: Sequence[MemoryChange]) -> None:
            await self.memories[address].apply_handover(changes)

        async def inherit() -> MemoryState | None:
            return None

        memory = ReplicatedMemory(
            store,
            self.replicas[name],
            address=name,
            clock=SystemClock(),
            hand_over=hand_over,
            inherit=inherit,
        )
        self.memories[name] = memory
        self._tasks[name] = asyncio.create_task(memory.run())
        if wait:
            await self.wait(name, role)
        return memory

    async def wait(self, name: str, role: str, *, pending: int = 0) -> None:
        deadline_s = time.monotonic() + WAIT_S
        while True:
            state = await self.memories[name].state()
            if (state.role, state.pending) == (role, pending):
                return
            assert time.monotonic() < deadline_s, state
            await asyncio.sleep(0.02)

    async def stop(self, name: str) -> None:
        self._tasks[name].cancel()
        await asyncio.wait({self._tasks.pop(name)})
        await self.memories.pop(name).close()

    async def close(self) -> None:
        for name in list(self.memories):
            await self.stop(name)

    def kinds(self) -> list[str]:
        return [event.kind for event in self.shared.events]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path)
    yield made
    await made.close()


async def assert_whole(memory: ReplicatedMemory) -> None:
    report = await memory.verify()
    assert report.is_intact, report


async def test_a_write_whose_reply_was_lost_is_there_once(house: House) -> None:
    memory = await house.start("here")
    house.replicas["here"].failure = "lost"
    fact = await memory.add_fact("I like tea.", request_id="request-1")
    again = await memory.append_turn("s", turn(1), request_id="request-2")
    assert again is None
    assert (await memory.state()).pending == 2
    house.replicas["here"].failure = ""
    await house.wait("here", "leading")
    assert await memory.add_fact("I like tea.", request_id="request-1") == fact
    assert house.kinds() == ["fact-added", "turn-appended"]
    await assert_whole(memory)


async def test_an_import_whose_reply_was_lost_is_refused_then_found_done(house: House) -> None:
    memory = await house.start("here")
    await memory.add_fact("I like tea.", request_id="request-1")
    house.replicas["here"].failure = "lost"
    with pytest.raises(AdapterError, match="away"):
        await memory.import_state(STATE, request_id="request-2")
    await memory.add_fact("I like milk.", request_id="request-3")
    house.replicas["here"].failure = ""
    await house.wait("here", "leading")
    await memory.import_state(STATE, request_id="request-2")
    state = await memory.export_state()
    assert state.conversations == STATE.conversations
    assert [fact.text for fact in state.facts] == [*(fact.text for fact in STATE.facts), "I like milk."]
    assert house.kinds().count("state-imported") == 1
    await assert_whole(memory)


async def test_while_the_replica_is_away_all_or_nothing_is_refused_and_changes_nothing(house: House) -> None:
    memory = await house.start("here")
    fact = await memory.add_fact("I like tea.", request_id="request-1")
    house.replicas["here"].failure = "away"
    for refused in (
        memory.delete_all(request_id="request-2"),
        memory.import_state(STATE, request_id="request-3"),
        memory.merge_state(STATE, request_id="request-4"),
    ):
        with pytest.raises(AdapterError, match="away"):
            await refused
    assert await memory.list_facts() == [fact]
    assert (await memory.state()).pending == 0
    house.replicas["here"].failure = ""
    assert await memory.delete_all(request_id="request-2") == 1
    await assert_whole(memory)


async def test_what_was_said_and_deleted_while_away_leaves_nothing_in_the_replica(house: House) -> None:
    memory = await house.start("here")
    house.replicas["here"].failure = "away"
    fact = await memory.add_fact("My secret is small.", request_id="request-1")
    await memory.add_fact("My secret is small.", request_id="request-2")
    assert await memory.delete_fact(fact.id, request_id="request-3")
    house.replicas["here"].failure = ""
    await house.wait("here", "leading")
    assert house.kinds() == ["fact-added", "fact-said-again", "fact-deleted"]
    assert house.shared.items == {}
    await assert_whole(memory)


async def test_who_was_overtaken_is_fenced_and_its_pending_changes_go_to_who_leads(house: House) -> None:
    old = await house.start("old")
    await old.add_fact("I like tea.", request_id="request-1")
    house.replicas["old"].failure = "away"
    await old.add_fact("I like milk.", request_id="request-2")
    await old.append_turn("s", turn(1), request_id="request-3")
    house.shared.lock = None
    new = await house.start("new")
    await new.add_fact("I like milk.", request_id="request-2")  # its sender had no answer and asked again
    await new.add_fact("I like juice.", request_id="request-4")
    house.replicas["old"].failure = ""
    await house.wait("old", "waiting")
    assert sorted(fact.text for fact in await new.list_facts()) == [
        "I like juice.",
        "I like milk.",
        "I like tea.",
    ]
    assert await new.recent_turns("s", limit=5) == [turn(1)]
    with pytest.raises(AdapterError, match="does not lead") as caught:
        await old.add_fact("I like water.", request_id="request-5")
    assert caught.value.retryable
    await assert_whole(new)
    state = await new.export_state()
    await house.stop("new")
    await house.wait("old", "leading")
    assert await old.export_state() == state
    await assert_whole(old)
    assert house.kinds().count("fact-added") == 3


async def test_a_fenced_write_is_not_kept_by_who_was_overtaken(house: House) -> None:
    old = await house.start("old")
    house.shared.lock = FakeReplica(house.shared)  # somebody else has it, unnoticed
    house.shared.address = "nobody"
    with pytest.raises(AdapterError, match="Another instance leads"):
        await old.add_fact("I like tea.", request_id="request-1")
    assert house.kinds() == []
    house.shared.lock = None
    await house.wait("old", "leading")
    assert await old.list_facts() == []


async def test_an_old_file_is_brought_up_to_date_and_keeps_its_vectors(house: House) -> None:
    first = await house.start("first")
    await first.import_state(STATE, request_id="request-1")
    await first.search("car", limit=1)
    await house.stop("first")
    second = await house.start("second")
    await second.delete_fact("b", request_id="request-2")
    await second.add_fact("I like tea.", request_id="request-3")
    await second.add_fact("My car is a Volvo.", request_id="request-4")
    await house.stop("second")
    first = await house.start("first")
    assert (await first.search("tea or car", limit=1))[0].text
    assert house.embedders["first"].texts.count("I like tea.") == 1
    assert "My car is a Volvo." not in house.embedders["first"].texts
    assert [fact.text for fact in (await first.export_state()).facts] == ["I like tea.", "My car is a Volvo."]
    await assert_whole(first)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE facts SET text = 'x' WHERE id = 'b'",
        "DELETE FROM events WHERE seq = 2",
        "DELETE FROM events",
        "UPDATE events SET hash = 'x'",
    ],
)
async def test_a_damaged_file_is_replaced_by_what_the_replica_holds(house: House, damage: str) -> None:
    memory = await house.start("here")
    await memory.import_state(STATE, request_id="request-1")
    await house.stop("here")
    with closing(sqlite3.connect(house.path("here"), isolation_level=None)) as database:
        database.execute(damage)
    memory = await house.start("here")
    assert await memory.export_state() == STATE
    await assert_whole(memory)


async def test_an_empty_replica_gets_all_that_the_file_holds(house: House) -> None:
    memory = await house.start("here")
    await memory.import_state(STATE, request_id="request-1")
    await memory.delete_fact("b", request_id="request-2")
    await house.stop("here")
    house.shared = Shared()
    await house.start("here")
    await house.stop("here")
    other = await house.start("other")
    assert [fact.id for fact in await other.list_facts()] == ["a"]
    assert house.kinds()[-1] == "fact-deleted"
    await assert_whole(other)


async def test_a_backup_restored_beneath_a_running_instance_is_taken_up(house: House) -> None:
    memory = await house.start("here")
    await memory.import_state(STATE, request_id="request-1")
    backup = copy.copy(house.shared)
    backup.events, backup.items = list(backup.events), dict(backup.items)
    await memory.delete_all(request_id="request-2")
    house.shared.events, house.shared.items = backup.events, backup.items
    house.shared.head = backup.head
    deadline_s = time.monotonic() + WAIT_S
    while await memory.export_state() != STATE:
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.02)
    await memory.append_turn("s", turn(9), request_id="request-3")
    await assert_whole(memory)


async def test_a_broken_replica_is_not_served(house: House) -> None:
    memory = await house.start("here")
    await memory.import_state(STATE, request_id="request-1")
    await house.stop("here")
    del house.shared.events[2]
    other = await house.start("other", wait=False)
    deadline_s = time.monotonic() + WAIT_S
    while "event 3 is missing" not in (state := await other.state()).detail:
        assert time.monotonic() < deadline_s, state
        await asyncio.sleep(0.02)
    assert not state.is_ready
    with pytest.raises(AdapterError, match="does not lead"):
        await other.list_facts()


async def test_a_caller_that_goes_away_leaves_file_and_replica_in_step(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = await house.start("here")
    replica, reached, goes_on = house.replicas["here"], asyncio.Event(), asyncio.Event()
    append: Callable[..., object] = replica.append

    async def slow(*arguments: object) -> object:
        head = await append(*arguments)  # type: ignore[misc]
        reached.set()
        await goes_on.wait()
        return head

    monkeypatch.setattr(replica, "append", slow)
    asking = asyncio.create_task(memory.add_fact("I like tea.", request_id="request-1"))
    await reached.wait()
    asking.cancel()
    await asyncio.wait({asking})
    goes_on.set()
    assert (await memory.add_fact("I like tea.", request_id="request-1")).text == "I like tea."
    assert house.kinds() == ["fact-added"]
    await assert_whole(memory)
