"""The file that facts and conversations are kept in, with the chain of what happened to them.

It owns what a change does to the tables and how processes share them; searching by meaning is
`faiss_store`'s, the tables are `memory_schema`'s. Every method blocks and all are called from one thread.

A change is planned first (events and items, nothing written) and then applied. A lone node does both in one
transaction; a node with a replica lets the replica agree in between.
"""

from __future__ import annotations

import dataclasses
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

from pipecatapp.adapters.fact_ranking import normalise
from pipecatapp.adapters.memory_chain import GENESIS, Draft, Head, key_of, ref_of
from pipecatapp.adapters.memory_schema import BUSY_TIMEOUT_S, insert_event, prepare
from pipecatapp.errors import AdapterError
from pipecatapp.memory_ports import KeptTurn, MemoryChange, MemoryEvent, MemoryItem
from pipecatapp.ports import Fact, MemoryState, StoredTurn

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

BATCH = 500
"""Rows named in one statement; SQLite allows 999 parameters in its oldest builds."""
SETTLED, PENDING, HANDED_OVER = 0, 1, 2
"""State of an event: kept wherever it must be; not yet in the replica; given to the instance that leads."""

_FACT = "id, text, created_s, session_id"
_TURN = "session_id, turn_id, user_text, assistant_text, interrupted, created_s"
_EVENT = "seq, at_s, kind, ref, request_id, payload_sha256, prev, hash"


@dataclass(frozen=True, slots=True)
class Plan(Generic[T_co]):
    """What a request comes to. `changes` is empty when there is nothing to do, or it was done before."""

    result: T_co
    changes: Sequence[MemoryChange] = ()


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

    def marks(self) -> Marks:
        """Return how often facts were changed and removed, by any process."""
        found = dict(self._db.execute("SELECT name, value FROM marks"))
        return Marks(found["changes"], found["removals"])

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

    def change(self, plan: Callable[[], Plan[T]], *, pending: bool = False) -> T:
        """Plan and apply a change in one transaction; return the plan's result."""
        with self._writing():
            planned = plan()
            self._apply(planned.changes, PENDING if pending else SETTLED)
        self._forget_log(planned.changes)
        return planned.result

    def apply(self, changes: Sequence[MemoryChange], *, pending: bool) -> None:
        """Apply what was planned; nobody else may have written since.

        Args:
            changes: The plan's.
            pending: Whether the replica has yet to learn of them.
        """
        with self._writing():
            self._apply(changes, PENDING if pending else SETTLED)
        self._forget_log(changes)

    def plan_fact(self, fact: Fact, request_id: str = "") -> Plan[Fact]:
        """Plan to keep a fact, or to count the known one that says the same as said now."""
        done = self._done(request_id)
        if done is not None:
            known = self._fact_items("id = ?", done.ref)
            return Plan(_fact_of(known[0]) if known else dataclasses.replace(fact, id=done.ref))
        draft = self._draft(request_id)
        known = self._fact_items("normal = ?", normalise(fact.text))
        if known:
            draft.say_again(known[0])
            return Plan(_fact_of(known[0]), draft.changes)
        draft.add("fact-added", fact.id, fact)
        return Plan(fact, draft.changes)

    def plan_delete_fact(self, fact_id: str, request_id: str = "") -> Plan[bool]:
        """Plan to remove a fact; the result is False when there is none."""
        if self._done(request_id) is not None:
            return Plan(True)
        if not self._fact_items("id = ?", fact_id):
            return Plan(False)
        draft = self._draft(request_id)
        draft.add("fact-deleted", fact_id)
        return Plan(True, draft.changes)

    def plan_delete_all(self, request_id: str = "") -> Plan[int]:
        """Plan to remove every fact and turn; the result is how many facts there are."""
        done = self._done(request_id)
        if done is not None:
            return Plan(int(done.ref))
        (count,) = self._db.execute("SELECT COUNT(*) FROM facts").fetchone()
        draft = self._draft(request_id)
        draft.add("all-deleted", str(count))
        return Plan(int(count), draft.changes)

    def plan_turn(self, session_id: str, turn: StoredTurn, request_id: str = "") -> Plan[None]:
        """Plan to keep a turn; one that is already kept stays as it is."""
        kept = KeptTurn(session_id, turn)
        if self._done(request_id) is not None or self._has_turn(kept):
            return Plan(None)
        draft = self._draft(request_id)
        draft.add("turn-appended", ref_of(kept), kept)
        return Plan(None, draft.changes)

    def plan_import(self, state: MemoryState, request_id: str = "") -> Plan[None]:
        """Plan to replace everything.

        Raises:
            AdapterError: Two facts of the state have one id.
        """
        if self._done(request_id) is not None:
            return Plan(None)
        if len({fact.id for fact in state.facts}) < len(state.facts):
            raise AdapterError("state-doubled", "Two facts of this state have one id.", status=422)
        draft = self._draft(request_id)
        draft.add("state-imported", str(len(state.facts)))
        for content in _contents(state):
            draft.add(_added(content), ref_of(content), content)
        return Plan(None, draft.changes)

    def plan_merge(self, state: MemoryState, request_id: str = "") -> Plan[int]:
        """Plan to add what is not known yet; the result is how many facts and turns are new."""
        if self._done(request_id) is not None:
            return Plan(0)
        draft = self._draft(request_id)
        for content in _contents(state):
            if isinstance(content, Fact):
                is_known = bool(self._fact_items("id = ? OR normal = ?", content.id, normalise(content.text)))
            else:
                is_known = self._has_turn(content)
            if not is_known:
                draft.add(_added(content), ref_of(content), content)
        return Plan(len(draft.changes), draft.changes)

    def head(self, *, settled: bool = False) -> Head:
        """Return number and hash of the last event; with `settled`, of the last before any pending one."""
        row = self._db.execute(
            "SELECT seq, hash FROM events WHERE ? = 0 OR seq <"
            " (SELECT COALESCE(MIN(seq), 1e18) FROM events WHERE state != 0) ORDER BY seq DESC LIMIT 1",
            (settled,),
        ).fetchone()
        return (int(row[0]), str(row[1])) if row else (0, GENESIS)

    def goes_on_from(self, seq: int, event_hash: str) -> bool:
        """Whether event `seq` has that hash, and all that follow it here are pending."""
        row = self._db.execute("SELECT hash FROM events WHERE seq = ?", (seq,)).fetchone()
        others = self._db.execute(
            "SELECT 1 FROM events WHERE seq > ? AND state != ? LIMIT 1", (seq, PENDING)
        ).fetchone()
        return row is not None and row[0] == event_hash and others is None

    def events(self, *, after: int = 0, up_to: int | None = None) -> list[MemoryEvent]:
        """Return events in order."""
        rows = self._db.execute(
            f"SELECT {_EVENT} FROM events WHERE seq > ? AND seq <= ? ORDER BY seq",
            (after, 2**62 if up_to is None else up_to),
        )
        return [MemoryEvent(*row) for row in rows]

    def items(self) -> list[MemoryItem]:
        """Return every fact and turn as it is kept."""
        return [*self._fact_items("1"), *self._turn_items("1")]

    def pending(self) -> list[MemoryChange]:
        """Return the changes that the replica has yet to learn of; without an item where it is gone since."""
        items = {key_of(item.content): item for item in self.items()} if self._has_pending() else {}
        rows = self._db.execute(f"SELECT {_EVENT} FROM events WHERE state = ? ORDER BY seq", (PENDING,))
        changes = []
        for event in (MemoryEvent(*row) for row in rows):
            brings = {"fact-added": "fact", "fact-said-again": "fact", "turn-appended": "turn"}
            changes.append(MemoryChange(event, items.get((brings.get(event.kind, ""), event.ref))))
        return changes

    def settle(self, seq: int) -> None:
        """Note that the replica has all up to event `seq`."""
        with self._writing():
            self._db.execute("UPDATE events SET state = ? WHERE seq <= ?", (SETTLED, seq))

    def hand_over(self) -> None:
        """Note that the instance which leads now was given what is pending."""
        with self._writing():
            self._db.execute("UPDATE events SET state = ? WHERE state = ?", (HANDED_OVER, PENDING))

    def replace(self, after: int, events: Sequence[MemoryEvent], items: Sequence[MemoryItem]) -> None:
        """Take over another chain and what is kept by it; vectors of facts that stay are kept.

        Args:
            after: Last event that both chains have; later ones of this file are dropped.
            events: The other chain's events after that one.
            items: All that is kept.
        """
        wanted = {key_of(item.content): item for item in items}
        with self._writing():
            self._mark("changes", "removals")
            self._db.execute("DELETE FROM events WHERE seq > ?", (after,))
            for event in events:
                insert_event(self._db, MemoryChange(event), SETTLED)
            for item in self.items():
                kept = wanted.get(key_of(item.content))
                if kept is None or dataclasses.replace(kept, said=item.said) != item:
                    self._remove(item.content)
                    continue
                del wanted[key_of(item.content)]
                if kept.said != item.said:
                    where = (kept.said, ref_of(item.content))
                    self._db.execute("UPDATE facts SET said = ? WHERE id = ?", where)
            for item in sorted(wanted.values(), key=lambda each: each.origin):
                self._insert(item)
        self._truncate_log()

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
            f"SELECT {_EVENT} FROM events WHERE request_id = ? AND request_id != '' ORDER BY seq LIMIT 1",
            (request_id,),
        ).fetchone()
        return MemoryEvent(*row) if row else None

    def _has_pending(self) -> bool:
        row = self._db.execute("SELECT 1 FROM events WHERE state = ? LIMIT 1", (PENDING,)).fetchone()
        return row is not None

    def _has_turn(self, kept: KeptTurn) -> bool:
        where = (kept.session_id, kept.turn.turn_id)
        found = self._db.execute("SELECT 1 FROM turns WHERE session_id = ? AND turn_id = ?", where)
        return found.fetchone() is not None

    def _fact_items(self, where: str, *values: str) -> list[MemoryItem]:
        rows = self._db.execute(
            f"SELECT salt, origin, said, {_FACT} FROM facts WHERE {where} ORDER BY seq", values
        )
        return [MemoryItem(salt, origin, said, Fact(*fact)) for salt, origin, said, *fact in rows]

    def _turn_items(self, where: str, *values: str) -> list[MemoryItem]:
        rows = self._db.execute(f"SELECT salt, origin, {_TURN} FROM turns WHERE {where} ORDER BY seq", values)
        return [
            MemoryItem(salt, origin, origin, KeptTurn(session_id, _turn(row)))
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
            f"INSERT INTO turns ({_TURN}, salt, origin) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
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


def _contents(state: MemoryState) -> Iterator[Fact | KeptTurn]:
    """Yield what a state holds, each turn once."""
    yield from (dataclasses.replace(fact, score=0.0) for fact in state.facts)
    for session_id, turns in state.conversations.items():
        first: dict[str, StoredTurn] = {}
        for turn in turns:
            first.setdefault(turn.turn_id, turn)
        yield from (KeptTurn(session_id, turn) for turn in first.values())


def _added(content: Fact | KeptTurn) -> Literal["fact-added", "turn-appended"]:
    return "fact-added" if isinstance(content, Fact) else "turn-appended"


def _fact_of(item: MemoryItem) -> Fact:
    assert isinstance(item.content, Fact)
    return item.content


def _turn(row: Sequence[object]) -> StoredTurn:
    turn_id, user_text, assistant_text, interrupted, created_s = row
    return StoredTurn(
        str(turn_id), str(user_text), str(assistant_text), bool(interrupted), float(str(created_s))
    )
