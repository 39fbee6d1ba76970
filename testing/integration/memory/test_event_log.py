"""The chain in the memory's file: it grows with every change and tells tampering."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from pipecatapp.adapters.memory.sqlite_faiss import SqliteFaissStore
from pipecatapp.ports.event_log import AuditReport, verify
from testing.conformance.memory_suite import STATE, turn
from testing.fakes.fake_clock import FakeClock
from testing.fakes.fake_embedder import FakeEmbedder

pytestmark = pytest.mark.integration

VERSION_1 = """
CREATE TABLE facts (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, text TEXT NOT NULL,
    normal TEXT NOT NULL, created_s REAL NOT NULL, session_id TEXT NOT NULL, said INTEGER NOT NULL);
CREATE INDEX facts_by_normal ON facts (normal);
CREATE TABLE vectors (seq INTEGER NOT NULL REFERENCES facts (seq) ON DELETE CASCADE, embedder TEXT NOT NULL,
    vector BLOB NOT NULL, PRIMARY KEY (seq, embedder));
CREATE TABLE turns (seq INTEGER PRIMARY KEY AUTOINCREMENT, session_id TEXT NOT NULL, turn_id TEXT NOT NULL,
    user_text TEXT NOT NULL, assistant_text TEXT NOT NULL, interrupted INTEGER NOT NULL,
    created_s REAL NOT NULL, UNIQUE (session_id, turn_id));
CREATE INDEX turns_by_session ON turns (session_id, seq);
CREATE TABLE marks (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT INTO marks VALUES ('changes', 3), ('removals', 0);
INSERT INTO facts VALUES (1, 'a', 'My dog is called Rex.', 'my dog is called rex', 5.0, 's', 7);
INSERT INTO facts VALUES (4, 'b', 'My dog is called Biscuit.', 'my dog is called biscuit', 4.0, 's', 6);
INSERT INTO turns VALUES (2, 's', 'turn-1', 'hello', 'answer 1', 0, 1001.0);
PRAGMA user_version = 1;
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory.sqlite"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteFaissStore]:
    made = SqliteFaissStore(path, FakeEmbedder(), FakeClock())
    yield made
    await made.close()


async def report_of(store: SqliteFaissStore) -> AuditReport:
    return await store.use(lambda db: verify(db.events(), db.items()))


async def kinds_of(store: SqliteFaissStore) -> list[str]:
    return [event.kind for event in await store.use(lambda db: db.events())]


async def live_through_everything(store: SqliteFaissStore) -> None:
    await store.add_fact("My cat is called Tom.")
    await store.import_state(STATE)
    dog = await store.add_fact("My dog is called Biscuit.", session_id="s")
    await store.add_fact("My dog is called Biscuit.")
    await store.append_turn("s", turn(1, text="My secret word is Xylophone."))
    await store.append_turn("s", turn(1))
    cat = await store.add_fact("My cat is called Zanzibar.")
    await store.delete_fact(cat.id)
    await store.delete_fact("none")
    assert dog.id != cat.id


async def test_every_change_is_an_event_and_nothing_else_is(store: SqliteFaissStore) -> None:
    await live_through_everything(store)
    await store.search("dog", limit=1)
    assert await kinds_of(store) == [
        "fact-added",
        "state-imported",
        *["fact-added"] * 2,
        *["turn-appended"] * 3,
        "fact-added",
        "fact-said-again",
        "turn-appended",
        "fact-added",
        "fact-deleted",
    ]
    report = await report_of(store)
    assert (report.is_intact, report.events, report.items) == (True, 12, 7)
    await store.delete_all()
    assert (await kinds_of(store))[-1] == "all-deleted"
    assert (await report_of(store)).is_intact


async def test_what_is_forgotten_leaves_no_word_and_a_whole_chain(
    store: SqliteFaissStore, path: Path
) -> None:
    await live_through_everything(store)
    await store.delete_all()
    held = b"".join(item.read_bytes() for item in path.parent.iterdir())
    assert b"Xylophone" not in held and b"Zanzibar" not in held
    report = await report_of(store)
    assert (report.is_intact, report.items) == (True, 0)


async def test_the_same_content_has_another_hash_each_time(store: SqliteFaissStore) -> None:
    fact = await store.add_fact("Yes.")
    await store.delete_fact(fact.id)
    await store.add_fact("Yes.")
    hashes = [event.payload_sha256 for event in await store.use(lambda db: db.events())]
    assert len({value for value in hashes if value}) == 2


@pytest.mark.parametrize(
    ("damage", "seq", "fault"),
    [
        ("UPDATE events SET ref = 'x' WHERE seq = 3", 3, "event 3 was changed"),
        ("UPDATE events SET at_s = at_s + 1 WHERE seq = 2", 2, "event 2 was changed"),
        ("DELETE FROM events WHERE seq = 5", 5, "event 5 is missing"),
        ("UPDATE facts SET text = 'My bike is red.' WHERE id = 'b'", 4, "fact 'b' is not what event 4 says"),
        ("UPDATE turns SET user_text = '' WHERE turn_id = 'turn-3'", 7, "not what event 7 says"),
        ("DELETE FROM facts WHERE id = 'a'", 3, "fact 'a' of event 3 is gone"),
        (
            "INSERT INTO facts VALUES (99, 'new', 'I owe you.', 'i owe you', 1.0, '', 12, 'salt', 12)",
            12,
            "fact 'new' is kept, but no event says so",
        ),
        ("UPDATE facts SET said = 99 WHERE id = 'a'", 3, "kept with other numbers"),
    ],
)
async def test_tampering_is_told_with_its_first_event(
    store: SqliteFaissStore, path: Path, damage: str, seq: int, fault: str
) -> None:
    await live_through_everything(store)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(damage)
    report = await report_of(store)
    assert not report.is_intact
    assert report.broken_seq == seq
    assert fault in report.fault


async def test_a_file_without_a_chain_keeps_what_it_holds_and_gets_one(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.executescript(VERSION_1)
    store = SqliteFaissStore(path, FakeEmbedder(), FakeClock())
    assert [fact.id for fact in (await store.export_state()).facts] == ["b", "a"]
    assert await store.recent_turns("s", limit=5) == [turn(1)]
    assert (await store.search("What is my dog called?", limit=1))[0].text == "My dog is called Rex."
    assert await kinds_of(store) == ["fact-added", "fact-added", "turn-appended"]
    assert (await report_of(store)).is_intact
    await store.add_fact("My dog is called Biscuit.")
    assert (await store.search("What is my dog called?", limit=1))[0].id == "b"
    assert (await report_of(store)).is_intact
    await store.close()
