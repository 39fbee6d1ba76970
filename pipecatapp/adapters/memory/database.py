"""Plans and applies each write to the memory's SQLite file, as events.

It owns what a request comes to; the rows are `tables`', searching by meaning is
`sqlite_faiss`'s. Every method blocks and all are called from one thread.

A change is planned first (events and items, nothing written) and then applied. A lone node does both in one
transaction; a node with a replica lets the replica agree in between.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from pipecatapp.adapters.memory.ranking import normalise
from pipecatapp.adapters.memory.schema import event_of, fact_of, insert_event
from pipecatapp.adapters.memory.tables import EVENT_COLUMNS, FACT_COLUMNS, MemoryTables, turn_of
from pipecatapp.errors import AdapterError
from pipecatapp.ports import (
    Fact,
    KeptTurn,
    MemoryChange,
    MemoryEvent,
    MemoryItem,
    MemoryState,
    StoredTurn,
    WriteIntent,
)
from pipecatapp.ports.event_log import key_of, ref_of

T = TypeVar("T")

BATCH = 500
"""Rows named in one statement; SQLite allows 999 parameters in its oldest builds."""
SETTLED, PENDING, HANDED_OVER = 0, 1, 2
"""State of an event: kept wherever it must be; not yet in the replica; given to the instance that leads."""


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


class MemoryDatabase(MemoryTables):
    """What is asked of the memory's file, and what a request comes to; made as `MemoryTables` is."""

    def marks(self) -> Marks:
        """Return how often facts were changed and removed, by any process."""
        found = dict(self._db.execute("SELECT name, value FROM marks"))
        return Marks(found["changes"], found["removals"])

    def facts(self) -> list[Fact]:
        """Return every fact, oldest first."""
        return [
            fact_of(row)
            for row in self._db.execute(f"SELECT {FACT_COLUMNS} FROM facts ORDER BY created_s, seq")
        ]

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
                FactRow(seq, fact_of(fact), vector)
                for seq, *fact, vector in self._db.execute(
                    f"SELECT f.seq, {FACT_COLUMNS}, v.vector FROM facts f"
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
        return [turn_of(row) for row in reversed(rows)]

    def export_state(self) -> MemoryState:
        """Return everything, as of one moment; facts in the order in which they were said last."""
        with self._reading():
            facts = [
                fact_of(row) for row in self._db.execute(f"SELECT {FACT_COLUMNS} FROM facts ORDER BY said")
            ]
            conversations: dict[str, list[StoredTurn]] = {}
            for session_id, *row in self._db.execute(
                "SELECT session_id, turn_id, user_text, assistant_text, interrupted, created_s"
                " FROM turns ORDER BY seq"
            ):
                conversations.setdefault(session_id, []).append(turn_of(row))
        return MemoryState(tuple(facts), {name: tuple(turns) for name, turns in conversations.items()})

    def change(self, plan: Callable[[], WriteIntent[T]], *, pending: bool = False) -> T:
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

    def plan_fact(self, fact: Fact, request_id: str = "") -> WriteIntent[Fact]:
        """Plan to keep a fact, or to count the known one that says the same as said now."""
        done = self._done(request_id)
        if done is not None:
            known = self._fact_items("id = ?", done.ref)
            return WriteIntent(_fact_of(known[0]) if known else dataclasses.replace(fact, id=done.ref))
        draft = self._draft(request_id)
        known = self._fact_items("normal = ?", normalise(fact.text))
        if known:
            draft.touch(known[0])
            return WriteIntent(_fact_of(known[0]), draft.changes)
        draft.add("fact-added", fact.id, fact)
        return WriteIntent(fact, draft.changes)

    def plan_delete_fact(self, fact_id: str, request_id: str = "") -> WriteIntent[bool]:
        """Plan to remove a fact; the result is False when there is none."""
        if self._done(request_id) is not None:
            return WriteIntent(True)
        if not self._fact_items("id = ?", fact_id):
            return WriteIntent(False)
        draft = self._draft(request_id)
        draft.add("fact-deleted", fact_id)
        return WriteIntent(True, draft.changes)

    def plan_delete_all(self, request_id: str = "") -> WriteIntent[int]:
        """Plan to remove every fact and turn; the result is how many facts there are."""
        done = self._done(request_id)
        if done is not None:
            return WriteIntent(int(done.ref))
        (count,) = self._db.execute("SELECT COUNT(*) FROM facts").fetchone()
        draft = self._draft(request_id)
        draft.add("all-deleted", str(count))
        return WriteIntent(int(count), draft.changes)

    def plan_turn(self, session_id: str, turn: StoredTurn, request_id: str = "") -> WriteIntent[None]:
        """Plan to keep a turn; one that is already kept stays as it is."""
        kept = KeptTurn(session_id, turn)
        if self._done(request_id) is not None or self._has_turn(kept):
            return WriteIntent(None)
        draft = self._draft(request_id)
        draft.add("turn-appended", ref_of(kept), kept)
        return WriteIntent(None, draft.changes)

    def plan_import(self, state: MemoryState, request_id: str = "") -> WriteIntent[None]:
        """Plan to replace everything.

        Raises:
            AdapterError: Two facts of the state have one id.
        """
        if self._done(request_id) is not None:
            return WriteIntent(None)
        if len({fact.id for fact in state.facts}) < len(state.facts):
            raise AdapterError("state-doubled", "Two facts of this state have one id.", status=422)
        draft = self._draft(request_id)
        draft.add("state-imported", str(len(state.facts)))
        for content in _contents(state):
            draft.add(_added(content), ref_of(content), content)
        return WriteIntent(None, draft.changes)

    def plan_merge(self, state: MemoryState, request_id: str = "") -> WriteIntent[int]:
        """Plan to add what is not known yet; the result is how many facts and turns are new."""
        if self._done(request_id) is not None:
            return WriteIntent(0)
        draft = self._draft(request_id)
        for content in _contents(state):
            if isinstance(content, Fact):
                is_known = bool(self._fact_items("id = ? OR normal = ?", content.id, normalise(content.text)))
            else:
                is_known = self._has_turn(content)
            if not is_known:
                draft.add(_added(content), ref_of(content), content)
        return WriteIntent(len(draft.changes), draft.changes)

    def goes_on_from(self, seq: int, event_hash: str) -> bool:
        """Whether event `seq` has that hash, and all that follow it here are pending."""
        row = self._db.execute("SELECT hash FROM events WHERE seq = ?", (seq,)).fetchone()
        others = self._db.execute(
            "SELECT 1 FROM events WHERE seq > ? AND state != ? LIMIT 1", (seq, PENDING)
        ).fetchone()
        return row is not None and row[0] == event_hash and others is None

    def pending(self) -> list[MemoryChange]:
        """Return the changes that the replica has yet to learn of; without an item where it is gone since."""
        items = {key_of(item.content): item for item in self.items()} if self._has_pending() else {}
        rows = self._db.execute(
            f"SELECT {EVENT_COLUMNS} FROM events WHERE state = ? ORDER BY seq", (PENDING,)
        )
        changes = []
        for event in map(event_of, rows):
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

    def _has_pending(self) -> bool:
        row = self._db.execute("SELECT 1 FROM events WHERE state = ? LIMIT 1", (PENDING,)).fetchone()
        return row is not None


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
