"""The SQLite and FAISS memory: the port's promises, durability, and sharing between processes."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from pipecatapp.adapters.memory.sqlite_faiss import SqliteFaissStore
from pipecatapp.errors import AdapterError
from pipecatapp.ports import Vectors
from testing.conformance.memory_suite import MemorySuite, turn
from testing.fakes.fake_clock import FakeClock
from testing.fakes.fake_embedder import FakeEmbedder

pytestmark = pytest.mark.integration

REPO = Path(__file__).resolve().parents[4]
Open = Callable[..., SqliteFaissStore]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "memory.db"


@pytest.fixture
async def open_store(path: Path) -> AsyncIterator[Open]:
    stores: list[SqliteFaissStore] = []

    def open_one(embedder: FakeEmbedder | None = None) -> SqliteFaissStore:
        stores.append(SqliteFaissStore(path, embedder or FakeEmbedder(), FakeClock()))
        return stores[-1]

    yield open_one
    for store in stores:
        await store.close()


def start_worker(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    module = "testing.integration.adapters.memory.memory_worker"
    command = [sys.executable, "-m", module, str(path), name, str(count)]
    return subprocess.Popen(command, cwd=REPO, stdout=subprocess.PIPE, text=True)


class TestSqliteFaissStore(MemorySuite):
    @pytest.fixture
    def memory(self, open_store: Open) -> SqliteFaissStore:
        return open_store()


class SlowEmbedder(FakeEmbedder):
    """One that lets others go on while it works."""

    async def embed(self, texts: Sequence[str]) -> Vectors:
        found = await super().embed(texts)
        for _ in range(100):
            await asyncio.sleep(0)
        return found


async def test_searches_at_once_embed_what_is_new_only_once(open_store: Open) -> None:
    first = open_store()
    await first.add_fact("My dog is called Biscuit.")
    embedder = SlowEmbedder(name="another")
    second = open_store(embedder)

    await asyncio.gather(second.index(), second.search("dog", limit=1), second.search("dog", limit=1))

    assert embedder.texts == ["My dog is called Biscuit.", "dog", "dog"]


async def test_everything_is_there_after_a_restart(open_store: Open) -> None:
    first = open_store()
    dog = await first.add_fact("My dog is called Biscuit.", session_id="s")
    await first.append_turn("s", turn(1))
    await first.close()
    second = open_store()
    assert (await second.search("What is my dog called?", limit=1))[0].id == dog.id
    assert await second.recent_turns("s", limit=10) == [turn(1)]


async def test_what_was_returned_survives_a_kill(path: Path, open_store: Open) -> None:
    with start_worker(path, "victim", 100_000) as worker:
        assert worker.stdout is not None
        kept = [worker.stdout.readline().split() for _ in range(25)]
        worker.send_signal(signal.SIGKILL)
        kept += [line.split() for line in worker.stdout if line.endswith("\n")]
    assert worker.returncode == -signal.SIGKILL
    store = open_store()
    ids = {fact.id for fact in await store.list_facts()}
    assert {fact_id for _, fact_id in kept} <= ids
    turns = await store.recent_turns("victim", limit=len(ids) + 1)
    assert [item.turn_id for item in turns][: len(kept)] == [f"turn-{number}" for number, _ in kept]
    assert len(await store.search("box victim", limit=5)) == 5


async def test_two_processes_share_one_file_from_its_first_moment(path: Path, open_store: Open) -> None:
    workers = [start_worker(path, name, 40) for name in ("left", "right")]
    outputs = await asyncio.gather(*(asyncio.to_thread(worker.communicate) for worker in workers))
    assert [worker.returncode for worker in workers] == [0, 0]
    assert all(len(output.splitlines()) == 40 for output, _ in outputs)
    store = open_store()
    facts = await store.list_facts()
    assert len(facts) == len({fact.text for fact in facts}) == 80
    assert len(await store.search("box", limit=100)) == 80


async def test_a_new_file_waits_for_another_process_that_makes_it(path: Path, open_store: Open) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        adding = asyncio.create_task(open_store().add_fact("My dog is called Biscuit."))
        await asyncio.sleep(0.2)
        assert not adding.done()
        other.execute("ROLLBACK")
        assert (await adding).text == "My dog is called Biscuit."


async def test_what_another_writes_removes_or_repeats_is_seen_at_once(open_store: Open) -> None:
    here, there = open_store(), open_store()
    await here.add_fact("My cat is called Tom.")
    dog = await there.add_fact("My dog is called Biscuit.")
    assert (await here.search("my dog called", limit=1))[0].id == dog.id
    await there.add_fact("My dog is called Rex.")
    await here.add_fact("My dog is called Biscuit.")
    assert (await there.search("my dog called", limit=1))[0].id == dog.id
    await there.delete_fact(dog.id)
    assert dog.id not in {fact.id for fact in await here.search("my dog called", limit=5)}
    await there.delete_all()
    assert await here.search("my dog called", limit=5) == []


async def test_another_embedder_embeds_again_and_the_first_does_not_have_to(open_store: Open) -> None:
    first = open_store(FakeEmbedder(64))
    await first.add_fact("My dog is called Biscuit.")
    await first.close()
    other = FakeEmbedder(32, name="other")
    second = open_store(other)
    assert (await second.search("dog", limit=1))[0].text == "My dog is called Biscuit."
    assert other.texts == ["My dog is called Biscuit.", "dog"]
    await second.close()
    again = FakeEmbedder(64)
    assert len(await open_store(again).search("dog", limit=1)) == 1
    assert again.texts == ["dog"]


async def test_a_fact_is_kept_when_the_embedder_fails_and_found_when_it_works(open_store: Open) -> None:
    embedder = FakeEmbedder(error=AdapterError("engine-failed", "no"))
    store = open_store(embedder)
    fact = await store.add_fact("My dog is called Biscuit.")
    assert await store.list_facts() == [fact]
    with pytest.raises(AdapterError):
        await store.search("dog", limit=1)
    embedder.error = None
    assert [found.id for found in await store.search("dog", limit=1)] == [fact.id]


async def test_only_the_owner_may_read_it(path: Path, open_store: Open) -> None:
    await open_store().add_fact("My dog is called Biscuit.")
    modes = {item.name: item.stat().st_mode & 0o777 for item in path.parent.iterdir()}
    assert set(modes.values()) == {0o600}, modes


async def test_what_is_forgotten_is_in_no_file(path: Path, open_store: Open) -> None:
    store = open_store()
    fact = await store.add_fact("My secret word is Xylophone.")
    await store.append_turn("s", turn(1, text="Zanzibar"))
    await store.delete_fact(fact.id)
    await store.delete_all()
    held = b"".join(item.read_bytes() for item in path.parent.iterdir())
    assert b"Xylophone" not in held
    assert b"Zanzibar" not in held


async def test_a_damaged_file_says_so_and_is_not_touched(path: Path, open_store: Open) -> None:
    path.parent.mkdir()
    junk = b"this is not a database at all " * 100
    await asyncio.to_thread(path.write_bytes, junk)
    with pytest.raises(AdapterError, match="is damaged") as caught:
        await open_store().open()
    assert caught.value.code == "memory-damaged"
    assert await asyncio.to_thread(path.read_bytes) == junk


async def test_a_newer_file_is_refused(path: Path, open_store: Open) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(AdapterError, match="version 99"):
        await open_store().list_facts()


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = SqliteFaissStore(tmp_path / "file" / "memory.db", FakeEmbedder(), FakeClock())
    with pytest.raises(AdapterError, match="cannot be used"):
        await store.open()
    await store.close()


async def test_a_closed_one_refuses(open_store: Open) -> None:
    store = open_store()
    await store.add_fact("My dog is called Biscuit.")
    await store.close()
    await store.close()
    with pytest.raises(AdapterError):
        await store.list_facts()


async def test_what_was_begun_before_closing_is_kept(open_store: Open) -> None:
    store = open_store()
    writes = [asyncio.create_task(store.append_turn("s", turn(number))) for number in range(5)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*writes)
    assert len(await open_store().recent_turns("s", limit=10)) == 5
