"""Rows of the memory's SQLite file: transactions, durability and erasure.

It owns transactions, durability and erasure; which change a request comes to is `database`'s, the
schema is `schema`'s. Every method blocks and all are called from one thread.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipecatapp.adapters.memory.ranking import normalise
from pipecatapp.adapters.memory.schema import BUSY_TIMEOUT_S, event_of, fact_of, insert_event, prepare
from pipecatapp.ports import Fact, KeptTurn, MemoryChange, MemoryEvent, MemoryItem, StoredTurn
from pipecatapp.ports.event_log import GENESIS, Draft, Head

FACT_COLUMNS = "id, text, created_s, session_id"
"""Of a Fact, in its order."""
TURN_COLUMNS = "session_id, turn_id, user_text, assistant_text, interrupted, created_s"
"""Of a KeptTurn, in its order."""
EVENT_COLUMNS = "seq, at_s, kind, ref, request_id, payload_sha256, prev, hash"
"""Of a MemoryEvent, in its order."""


class MemoryTables:
    """The tables of one file.

    Args:
        path: The file; made, with its folder, when absent, readable by its owner only.
        now: Returns the seconds since the epoch, for events.

    Raises:
        AdapterError: A newer version of the program wrote it.
    """

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self._now = now
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            # Never on a file in use: closing a descriptor of it drops this process's locks on it
            # (https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_).
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._db = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            prepare(self._db, path.name)
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def head(self, *, settled: bool = False) -> Head:
        """Return number and hash of the last event; with `settled`, of the last before any pending one."""
        row = self._db.execute(
            "SELECT seq, hash FROM events WHERE ? = 0 OR seq <"
            " (SELECT COALESCE(MIN(seq), 1e18) FROM events WHERE state != 0) ORDER BY seq DESC LIMIT 1",
            (settled,),
        ).fetchone()
        return (int(row[0]), str(row[1])) if row else (0, GENESIS)

    def events(self, *, after: int = 0, up_to: int | None = None) -> list[MemoryEvent]:
        """Return events in order."""
        rows = self._db.execute(
            f"SELECT {EVENT_COLUMNS} FROM events WHERE seq > ? AND seq <= ? ORDER BY seq",
            (after, 2**62 if up_to is None else up_to),
        )
        return [event_of(row) for row in rows]

    def items(self) -> list[MemoryItem]:
        """Return every fact and turn as it is kept."""
        return [*self._fact_items("1"), *self._turn_items("1")]

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

    def _draft(self, request_id: str) -> Draft:
        return Draft(self.head(), self._now(), request_id)

    def _done(self, request_id: str) -> MemoryEvent | None:
        """Return the first event of a request that was carried out before."""
        if not request_id:
            return None
        row = self._db.execute(
            f"SELECT {EVENT_COLUMNS} FROM events"
            " WHERE request_id = ? AND request_id != '' ORDER BY seq LIMIT 1",
            (request_id,),
        ).fetchone()
        return event_of(row) if row else None

    def _has_turn(self, kept: KeptTurn) -> bool:
        where = (kept.session_id, kept.turn.turn_id)
        found = self._db.execute("SELECT 1 FROM turns WHERE session_id = ? AND turn_id = ?", where)
        return found.fetchone() is not None

    def _fact_items(self, where: str, *values: str) -> list[MemoryItem]:
        rows = self._db.execute(
            f"SELECT salt, origin, said, {FACT_COLUMNS} FROM facts WHERE {where} ORDER BY seq", values
        )
        return [MemoryItem(salt, origin, said, fact_of(fact)) for salt, origin, said, *fact in rows]

    def _turn_items(self, where: str, *values: str) -> list[MemoryItem]:
        rows = self._db.execute(
            f"SELECT salt, origin, {TURN_COLUMNS} FROM turns WHERE {where} ORDER BY seq", values
        )
        return [
            MemoryItem(salt, origin, origin, KeptTurn(session_id, turn_of(row)))
            for salt, origin, session_id, *row in rows
        ]

    def _apply(self, changes: Iterable[MemoryChange], state: int) -> None:
        for change in changes:
            event, item = change.event, change.item
            insert_event(self._db, change, state)
            if event.kind == "fact-said-again":
                self._db.execute("UPDATE facts SET said = ? WHERE id = ?", (event.seq, event.ref))
                self._mark("changes")
            elif event.kind == "fact-deleted":
                self._db.execute("DELETE FROM facts WHERE id = ?", (event.ref,))
                self._mark("changes", "removals")
            elif event.kind in ("all-deleted", "state-imported"):
                self._db.execute("DELETE FROM facts")
                self._db.execute("DELETE FROM turns")
                self._mark("changes", "removals")
            elif item is not None:
                self._insert(item)
                self._mark("changes")

    def _insert(self, item: MemoryItem) -> None:
        content = item.content
        if isinstance(content, Fact):
            self._db.execute(
                "INSERT INTO facts (id, text, normal, created_s, session_id, said, salt, origin)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    content.id,
                    content.text,
                    normalise(content.text),
                    content.created_s,
                    content.session_id,
                    item.said,
                    item.salt,
                    item.origin,
                ),
            )
            return
        turn = content.turn
        self._db.execute(
            f"INSERT INTO turns ({TURN_COLUMNS}, salt, origin) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                content.session_id,
                turn.turn_id,
                turn.user_text,
                turn.assistant_text,
                turn.interrupted,
                turn.created_s,
                item.salt,
                item.origin,
            ),
        )

    def _remove(self, content: Fact | KeptTurn) -> None:
        if isinstance(content, Fact):
            self._db.execute("DELETE FROM facts WHERE id = ?", (content.id,))
            return
        where = (content.session_id, content.turn.turn_id)
        self._db.execute("DELETE FROM turns WHERE session_id = ? AND turn_id = ?", where)

    def _forget_log(self, changes: Iterable[MemoryChange]) -> None:
        """Empty the write-ahead log when it still holds what was removed."""
        forgets = ("fact-deleted", "all-deleted", "state-imported")
        if any(change.event.kind in forgets for change in changes):
            self._truncate_log()

    def _truncate_log(self) -> None:
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def turn_of(row: Sequence[object]) -> StoredTurn:
    """Return a turn from its columns, the session's left out."""
    turn_id, user_text, assistant_text, interrupted, created_s = row
    return StoredTurn(
        turn_id=str(turn_id),
        user_text=str(user_text),
        assistant_text=str(assistant_text),
        interrupted=bool(interrupted),
        created_s=float(str(created_s)),
    )
