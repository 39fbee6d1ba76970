"""The file that facts and conversations are kept in.

It owns the tables, their durability and their sharing between processes; searching by meaning is
`faiss_store`'s. Every method blocks and all are called from one thread.

Write-ahead logging lets one process write while others read; `synchronous=FULL` makes a commit survive
power loss (https://www.sqlite.org/pragma.html#pragma_synchronous). `secure_delete` overwrites what is
forgotten.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipecatapp.adapters.fact_ranking import normalise
from pipecatapp.errors import AdapterError
from pipecatapp.ports import Fact, MemoryState, StoredTurn

SCHEMA_VERSION = 1
"""`user_version` of the file."""
BUSY_TIMEOUT_S = 10.0
"""Seconds to wait for another process's write; one takes milliseconds, also on a slow disk."""
BUSY_RETRY_S = 0.01
"""Seconds between two tries where SQLite does not wait by itself: a few disk writes."""
BATCH = 500
"""Rows named in one statement; SQLite allows 999 parameters in its oldest builds."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    text TEXT NOT NULL,
    normal TEXT NOT NULL,
    created_s REAL NOT NULL,
    session_id TEXT NOT NULL,
    said INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS facts_by_normal ON facts (normal);
CREATE TABLE IF NOT EXISTS vectors (
    seq INTEGER NOT NULL REFERENCES facts (seq) ON DELETE CASCADE,
    embedder TEXT NOT NULL,
    vector BLOB NOT NULL,
    PRIMARY KEY (seq, embedder)
);
CREATE TABLE IF NOT EXISTS turns (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id TEXT NOT NULL,
    turn_id TEXT NOT NULL,
    user_text TEXT NOT NULL,
    assistant_text TEXT NOT NULL,
    interrupted INTEGER NOT NULL,
    created_s REAL NOT NULL,
    UNIQUE (session_id, turn_id)
);
CREATE INDEX IF NOT EXISTS turns_by_session ON turns (session_id, seq);
CREATE TABLE IF NOT EXISTS marks (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT OR IGNORE INTO marks VALUES ('changes', 0), ('removals', 0);
"""
_FACT = "id, text, created_s, session_id"


@dataclass(frozen=True, slots=True)
class FactRow:
    """A fact as it is stored. `vector`: its embedding's bytes (float32), or None when it has none yet."""

    seq: int
    fact: Fact
    vector: bytes | None


@dataclass(frozen=True, slots=True)
class Marks:
    """Counters that tell one process what another did.

    Args:
        changes: How often facts or vectors were added, removed or said again.
        removals: How often facts were removed.
    """

    changes: int
    removals: int


class MemoryDatabase:
    """The tables of one file.

    Args:
        path: The file; made, with its folder, when absent, readable by its owner only.

    Raises:
        AdapterError: A newer version of the program wrote it.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            # Never on a file in use: closing a descriptor of it drops this process's locks on it
            # (https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_).
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._db = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare(path)
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def marks(self) -> Marks:
        """Return how often facts were changed and removed, by any process."""
        found = dict(self._db.execute("SELECT name, value FROM marks"))
        return Marks(found["changes"], found["removals"])

    def add_fact(self, fact: Fact) -> Fact:
        """Keep a fact and return it, or return the known one that says the same and count it as said now."""
        with self._writing():
            self._mark("changes")
            known = self._db.execute(
                f"SELECT seq, {_FACT} FROM facts WHERE normal = ?", (normalise(fact.text),)
            ).fetchone()
            if known is not None:
                said = self._next_said()
                self._db.execute("UPDATE facts SET said = ? WHERE seq = ?", (said, known[0]))
                return Fact(*known[1:])
            self._insert_fact(fact)
            return fact

    def facts(self) -> list[Fact]:
        """Return every fact, oldest first."""
        return [Fact(*row) for row in self._db.execute(f"SELECT {_FACT} FROM facts ORDER BY created_s, seq")]

    def said(self) -> dict[int, int]:
        """Return, of every fact's `seq`, when it was said last: larger is newer."""
        return dict(self._db.execute("SELECT seq, said FROM facts"))

    def fact_rows(self, seqs: Sequence[int], embedder: str) -> list[FactRow]:
        """Return facts by `seq`, each with its vector of `embedder`."""
        rows: list[FactRow] = []
        for start in range(0, len(seqs), BATCH):
            batch = seqs[start : start + BATCH]
            marks = ",".join("?" * len(batch))
            rows += [
                FactRow(seq, Fact(*fact), vector)
                for seq, *fact, vector in self._db.execute(
                    f"SELECT f.seq, {_FACT}, v.vector FROM facts f"
                    " LEFT JOIN vectors v ON v.seq = f.seq AND v.embedder = ?"
                    f" WHERE f.seq IN ({marks}) ORDER BY f.seq",
                    (embedder, *batch),
                )
            ]
        return rows

    def add_vectors(self, embedder: str, vectors: Mapping[int, bytes]) -> None:
        """Keep vectors by their fact's `seq`; those of facts that are gone are dropped."""
        with self._writing():
            self._mark("changes")
            self._db.executemany(
                "INSERT OR IGNORE INTO vectors SELECT seq, ?, ? FROM facts WHERE seq = ?",
                [(embedder, vector, seq) for seq, vector in vectors.items()],
            )

    def delete_fact(self, fact_id: str) -> bool:
        """Remove a fact; False when there was none."""
        with self._writing():
            self._mark("changes", "removals")
            was_there = self._db.execute("DELETE FROM facts WHERE id = ?", (fact_id,)).rowcount > 0
        self._forget_log()
        return was_there

    def delete_all(self) -> int:
        """Remove every fact and turn; return how many facts there were."""
        with self._writing():
            self._mark("changes", "removals")
            count: int = self._db.execute("DELETE FROM facts").rowcount
            self._db.execute("DELETE FROM turns")
        self._forget_log()
        return count

    def append_turn(self, session_id: str, turn: StoredTurn) -> None:
        """Keep a turn; one that is already kept stays as it is."""
        with self._writing():
            self._insert_turn(session_id, turn)

    def recent_turns(self, session_id: str, limit: int) -> list[StoredTurn]:
        """Return a conversation's last turns, oldest first."""
        rows = self._db.execute(
            "SELECT turn_id, user_text, assistant_text, interrupted, created_s FROM turns"
            " WHERE session_id = ? ORDER BY seq DESC LIMIT ?",
            (session_id, max(0, limit)),
        ).fetchall()
        return [_turn(row) for row in reversed(rows)]

    def export_state(self) -> MemoryState:
        """Return everything, as of one moment; facts in the order in which they were said last."""
        with self._reading():
            facts = [Fact(*row) for row in self._db.execute(f"SELECT {_FACT} FROM facts ORDER BY said")]
            conversations: dict[str, list[StoredTurn]] = {}
            for session_id, *row in self._db.execute(
                "SELECT session_id, turn_id, user_text, assistant_text, interrupted, created_s"
                " FROM turns ORDER BY seq"
            ):
                conversations.setdefault(session_id, []).append(_turn(row))
        return MemoryState(tuple(facts), {name: tuple(turns) for name, turns in conversations.items()})

    def import_state(self, state: MemoryState) -> None:
        """Replace everything, all or nothing."""
        with self._writing():
            self._mark("changes", "removals")
            self._db.execute("DELETE FROM facts")
            self._db.execute("DELETE FROM turns")
            for fact in state.facts:
                self._insert_fact(fact)
            for session_id, turns in state.conversations.items():
                for turn in turns:
                    self._insert_turn(session_id, turn)
        self._forget_log()

    def _prepare(self, path: Path) -> None:
        self._use_write_ahead_log()
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.execute("PRAGMA secure_delete = ON")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise AdapterError(
                "memory-too-new",
                f"The memory '{path.name}' has version {version}; this program reads up to {SCHEMA_VERSION}.",
                hint="Start the newer program that wrote it.",
            )
        if version < SCHEMA_VERSION:
            self._db.executescript(
                f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
            )

    def _use_write_ahead_log(self) -> None:
        """Switch the file over, waiting for another process that does the same.

        SQLite answers "busy" at once here, without its busy timeout: two that change the mode of a new
        file would wait for each other (https://www.sqlite.org/rescode.html#busy).
        """
        give_up_s = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as exc:
                if not exc.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > give_up_s:
                    raise
                time.sleep(BUSY_RETRY_S)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        yield from self._transaction("BEGIN IMMEDIATE")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        yield from self._transaction("BEGIN")

    def _transaction(self, begin: str) -> Iterator[None]:
        self._db.execute(begin)
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _mark(self, *names: str) -> None:
        for name in names:
            self._db.execute("UPDATE marks SET value = value + 1 WHERE name = ?", (name,))

    def _next_said(self) -> int:
        (said,) = self._db.execute("SELECT COALESCE(MAX(said), 0) + 1 FROM facts").fetchone()
        return int(said)

    def _insert_fact(self, fact: Fact) -> None:
        self._db.execute(
            "INSERT INTO facts (id, text, normal, created_s, session_id, said) VALUES (?, ?, ?, ?, ?, ?)",
            (fact.id, fact.text, normalise(fact.text), fact.created_s, fact.session_id, self._next_said()),
        )

    def _insert_turn(self, session_id: str, turn: StoredTurn) -> None:
        self._db.execute(
            "INSERT OR IGNORE INTO turns"
            " (session_id, turn_id, user_text, assistant_text, interrupted, created_s)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (
                session_id,
                turn.turn_id,
                turn.user_text,
                turn.assistant_text,
                turn.interrupted,
                turn.created_s,
            ),
        )

    def _forget_log(self) -> None:
        """Empty the write-ahead log, which would still hold what was removed."""
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _turn(row: Sequence[object]) -> StoredTurn:
    turn_id, user_text, assistant_text, interrupted, created_s = row
    return StoredTurn(
        str(turn_id), str(user_text), str(assistant_text), bool(interrupted), float(str(created_s))
    )
