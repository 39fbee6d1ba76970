"""Schema of the memory's SQLite file, and its migrations.

It owns the schema, its versions and what SQLite is told when the file is opened; what is written is
`database`'s.

Write-ahead logging lets one process write while others read; `synchronous=FULL` makes a commit survive
power loss (https://www.sqlite.org/pragma.html#pragma_synchronous). `secure_delete` overwrites what is
forgotten.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from typing import Any

from pipecatapp.errors import AdapterError
from pipecatapp.ports import Fact, KeptTurn, MemoryChange, MemoryEvent, StoredTurn
from pipecatapp.ports.event_log import GENESIS, Draft, ref_of

SCHEMA_VERSION = 2
"""`user_version` of the file. 1 had no chain of events."""
BUSY_TIMEOUT_S = 10.0
"""Seconds to wait for another process's write; one takes milliseconds, also on a slow disk."""
BUSY_RETRY_S = 0.01
"""Seconds between two tries where SQLite does not wait by itself: a few disk writes."""

_VERSION_1 = (
    """CREATE TABLE facts (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        text TEXT NOT NULL,
        normal TEXT NOT NULL,
        created_s REAL NOT NULL,
        session_id TEXT NOT NULL,
        said INTEGER NOT NULL
    )""",
    "CREATE INDEX facts_by_normal ON facts (normal)",
    """CREATE TABLE vectors (
        seq INTEGER NOT NULL REFERENCES facts (seq) ON DELETE CASCADE,
        embedder TEXT NOT NULL,
        vector BLOB NOT NULL,
        PRIMARY KEY (seq, embedder)
    )""",
    """CREATE TABLE turns (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        session_id TEXT NOT NULL,
        turn_id TEXT NOT NULL,
        user_text TEXT NOT NULL,
        assistant_text TEXT NOT NULL,
        interrupted INTEGER NOT NULL,
        created_s REAL NOT NULL,
        UNIQUE (session_id, turn_id)
    )""",
    "CREATE INDEX turns_by_session ON turns (session_id, seq)",
    "CREATE TABLE marks (name TEXT PRIMARY KEY, value INTEGER NOT NULL)",
    "INSERT INTO marks VALUES ('changes', 0), ('removals', 0)",
)
_VERSION_2 = (
    "ALTER TABLE facts ADD COLUMN salt TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE facts ADD COLUMN origin INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE turns ADD COLUMN salt TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE turns ADD COLUMN origin INTEGER NOT NULL DEFAULT 0",
    """CREATE TABLE events (
        seq INTEGER PRIMARY KEY,
        at_s REAL NOT NULL,
        kind TEXT NOT NULL,
        ref TEXT NOT NULL,
        request_id TEXT NOT NULL,
        payload_sha256 TEXT NOT NULL,
        prev TEXT NOT NULL,
        hash TEXT NOT NULL,
        state INTEGER NOT NULL
    )""",
    "CREATE INDEX events_by_request ON events (request_id) WHERE request_id != ''",
    "CREATE INDEX events_by_state ON events (state) WHERE state != 0",
)


def prepare(database: sqlite3.Connection, name: str) -> None:
    """Make the file what this program reads and writes.

    Args:
        database: The open file.
        name: What errors call it.

    Raises:
        AdapterError: A newer version of the program wrote it.
    """
    _use_write_ahead_log(database)
    database.execute("PRAGMA synchronous = FULL")
    database.execute("PRAGMA foreign_keys = ON")
    database.execute("PRAGMA secure_delete = ON")
    if _version(database, name) == SCHEMA_VERSION:
        return
    database.execute("BEGIN IMMEDIATE")
    try:
        version = _version(database, name)  # another process may have been quicker
        for statement in _VERSION_1 if version < 1 else ():
            database.execute(statement)
        if version < 2:
            for statement in _VERSION_2:
                database.execute(statement)
            _begin_chain(database)
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def insert_event(database: sqlite3.Connection, change: MemoryChange, state: int) -> None:
    """Write an event's row."""
    event = change.event
    database.execute(
        "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            event.seq,
            event.at_s,
            event.kind,
            event.ref,
            event.request_id,
            event.payload_sha256,
            event.prev,
            event.hash,
            state,
        ),
    )


def fact_of(row: Sequence[Any]) -> Fact:
    """Return a fact from its columns `id, text, created_s, session_id`."""
    fact_id, text, created_s, session_id = row
    return Fact(id=fact_id, text=text, created_s=created_s, session_id=session_id)


def event_of(row: Sequence[Any]) -> MemoryEvent:
    """Return an event from its columns, in the order of the table, without its state."""
    seq, at_s, kind, ref, request_id, payload_sha256, prev, digest = row
    return MemoryEvent(
        seq=seq,
        at_s=at_s,
        kind=kind,
        ref=ref,
        request_id=request_id,
        payload_sha256=payload_sha256,
        prev=prev,
        hash=digest,
    )


def _version(database: sqlite3.Connection, name: str) -> int:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise AdapterError(
            "memory-too-new",
            f"The memory '{name}' has version {version}; this program reads up to {SCHEMA_VERSION}.",
            hint="Start the newer program that wrote it.",
        )
    return int(version)


def _use_write_ahead_log(database: sqlite3.Connection) -> None:
    """Switch the file over, waiting for another process that does the same.

    SQLite answers "busy" at once here, without its busy timeout: two that change the mode of a new
    file would wait for each other (https://www.sqlite.org/rescode.html#busy).
    """
    give_up_s = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as exc:
            if not exc.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > give_up_s:
                raise
            time.sleep(BUSY_RETRY_S)


def _begin_chain(database: sqlite3.Connection) -> None:
    """Give what a file of version 1 holds its events: the chain begins with what was there."""
    draft = Draft((0, GENESIS), time.time(), "")
    rows = database.execute("SELECT id, text, created_s, session_id FROM facts ORDER BY said").fetchall()
    for row in rows:
        draft.add("fact-added", row[0], fact_of(row))
    for session_id, *row in database.execute(
        "SELECT session_id, turn_id, user_text, assistant_text, interrupted, created_s FROM turns"
        " ORDER BY seq"
    ).fetchall():
        turn = StoredTurn(
            turn_id=row[0],
            user_text=row[1],
            assistant_text=row[2],
            interrupted=bool(row[3]),
            created_s=row[4],
        )
        kept = KeptTurn(session_id, turn)
        draft.add("turn-appended", ref_of(kept), kept)
    for change in draft.changes:
        insert_event(database, change, 0)
        item = change.item
        assert item is not None
        if isinstance(item.content, Fact):
            database.execute(
                "UPDATE facts SET salt = ?, origin = ?, said = ? WHERE id = ?",
                (item.salt, item.origin, item.said, item.content.id),
            )
        else:
            database.execute(
                "UPDATE turns SET salt = ?, origin = ? WHERE session_id = ? AND turn_id = ?",
                (item.salt, item.origin, item.content.session_id, item.content.turn.turn_id),
            )
