"""The long-term memory in SQLite, searched by FAISS: facts by meaning, conversations by name.

It owns the index and keeps it equal to the database, which is the truth; the tables are
`database`'s, FAISS is `vector_index`'s and the order of equals is `ranking`'s. The index is
exact (inner product of unit vectors): 10 000 facts are 15 MB and are searched in a millisecond.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar
from uuid import uuid4

import numpy as np

from pipecatapp.adapters.host.worker_thread import WorkerThread
from pipecatapp.adapters.memory.database import FactRow, Marks, MemoryDatabase
from pipecatapp.adapters.memory.ranking import ScoredFact, rank
from pipecatapp.adapters.memory.vector_index import VectorIndex, open_index
from pipecatapp.errors import AdapterError
from pipecatapp.ports import Clock, Embedder, Fact, MemoryState, StoredTurn, Vectors

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)

EMBED_BATCH = 64
"""Facts embedded at once: the size at which one text is cheapest, and under half a second."""
SPARE_CANDIDATES = 16
"""Facts looked at beyond the wanted ones, so that a newer fact of the same shape is among them."""


class SqliteFaissStore:
    """A MemoryStore in one file, shared by any number of processes.

    Args:
        path: The file; made when absent.
        embedder: Gives facts and questions their vectors; closed by whoever made it.
        clock: Dates the facts.
        uses_faiss: Whether FAISS searches; NumPy where it would die.
    """

    def __init__(self, path: Path, embedder: Embedder, clock: Clock, *, uses_faiss: bool = True) -> None:
        self._path = path
        self._embedder = embedder
        self._clock = clock
        self._thread = WorkerThread("memory")
        self._database: MemoryDatabase | None = None
        self._index = _FactIndex(embedder.dimensions, uses_faiss)
        self._seen: Marks | None = None
        self._removals_seen = -1
        self._refreshing = asyncio.Lock()

    async def open(self) -> None:
        """Open the file and fill the index, which the first call would otherwise do.

        Raises:
            AdapterError: The file is damaged, not ours to write, or written by a newer program.
        """
        await self._refresh()

    async def add_fact(self, text: str, *, session_id: str = "") -> Fact:
        """Remember `text`; saying a known fact again returns the known one.

        Raises:
            AdapterError: It could not be written.
        """
        fact = self.new_fact(text, session_id=session_id)
        kept = await self.use(lambda db: db.change(lambda: db.plan_fact(fact)))
        await self.index()
        return kept

    def new_fact(self, text: str, *, session_id: str = "", fact_id: str = "") -> Fact:
        """Return `text` as a fact of now, not yet kept.

        Raises:
            AdapterError: It is empty.
        """
        text = " ".join(text.split())
        if not text:
            raise AdapterError("empty-fact", "An empty fact cannot be remembered.", status=422)
        return Fact(
            id=fact_id or uuid4().hex, text=text, created_s=self._clock.wall_s(), session_id=session_id
        )

    async def index(self) -> None:
        """Give new facts their vectors; when that fails, the next search does it."""
        try:
            await self._refresh()
        except AdapterError as exc:
            log.warning("A fact has no vector yet", extra={"code": exc.code})

    async def use(self, call: Callable[[MemoryDatabase], T]) -> T:
        """Return `call` of the open database, run on its thread.

        Raises:
            AdapterError: The file cannot be used.
        """
        return await self._run(lambda: call(self._db))

    async def search(self, query: str, *, limit: int) -> list[Fact]:
        """Return the facts nearest in meaning, best first.

        Raises:
            AdapterError: The embedder or the file failed.
        """
        await self._refresh()
        if self._index.size == 0 or limit <= 0:
            return []
        vectors = await self._embedder.embed([query])
        scored_facts = await self._run(self._index.search, vectors, limit + SPARE_CANDIDATES)
        return rank(scored_facts, limit)

    async def list_facts(self) -> list[Fact]:
        """Return every fact, oldest first."""
        return await self.use(MemoryDatabase.facts)

    async def delete_fact(self, fact_id: str) -> bool:
        """Forget one fact; False when there was none."""
        return await self.use(lambda db: db.change(lambda: db.plan_delete_fact(fact_id)))

    async def delete_all(self) -> int:
        """Forget every fact and conversation; return how many facts there were."""
        return await self.use(lambda db: db.change(db.plan_delete_all))

    async def append_turn(self, session_id: str, turn: StoredTurn) -> None:
        """Add a finished turn to a conversation."""
        await self.use(lambda db: db.change(lambda: db.plan_turn(session_id, turn)))

    async def recent_turns(self, session_id: str, *, limit: int) -> list[StoredTurn]:
        """Return a conversation's last turns, oldest first."""
        return await self.use(lambda db: db.recent_turns(session_id, limit))

    async def export_state(self) -> MemoryState:
        """Return everything, as of one moment."""
        return await self.use(MemoryDatabase.export_state)

    async def import_state(self, state: MemoryState) -> None:
        """Replace everything by `state`, all or nothing."""
        await self.use(lambda db: db.change(lambda: db.plan_import(state)))

    async def close(self) -> None:
        """Let what is being written end, and close the file."""
        try:
            await self._thread.run(self._close_database)
        except AdapterError:
            return  # closed before
        await self._thread.close()

    @property
    def _db(self) -> MemoryDatabase:
        """The open database; on the worker thread only."""
        if self._database is None:
            self._database = MemoryDatabase(self._path, self._clock.wall_s)
        return self._database

    @property
    def _vector_name(self) -> str:
        return f"{self._embedder.name} ({self._embedder.dimensions})"

    def _close_database(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    async def _refresh(self) -> None:
        """Make the index equal to the database; each text that has no vector yet is embedded once."""
        async with self._refreshing:
            await self._embed_missing()

    async def _embed_missing(self) -> None:
        missing = await self._run(self._pull)
        for start in range(0, len(missing), EMBED_BATCH):
            batch = missing[start : start + EMBED_BATCH]
            vectors = await self._embedder.embed([row.fact.text for row in batch])
            blobs = {row.seq: vector.tobytes() for row, vector in zip(batch, _rows(vectors), strict=True)}
            await self._run(self._save_vectors, blobs)
        if missing:
            await self._run(self._pull)

    def _save_vectors(self, vectors: dict[int, bytes]) -> None:
        self._db.add_vectors(self._vector_name, vectors)

    def _pull(self) -> list[FactRow]:
        """Take over what changed in the database; return the facts without a vector."""
        marks = self._db.marks()
        if marks == self._seen:
            return []
        if marks.removals != self._removals_seen:
            self._index.clear()
            self._removals_seen = marks.removals
        said = self._db.said()
        rows = self._db.fact_rows(sorted(said.keys() - self._index.seqs), self._vector_name)
        self._index.add([row for row in rows if row.vector is not None], said)
        missing = [row for row in rows if row.vector is None]
        self._seen = None if missing else marks
        return missing

    async def _run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await self._thread.run(call, *args, **kwargs)
        except (sqlite3.Error, OSError) as exc:
            raise _map_error(exc, self._path) from exc


class _FactIndex:
    """The vectors of the facts, and when each fact was last said."""

    def __init__(self, dimensions: int, uses_faiss: bool) -> None:
        self._dimensions = dimensions
        self._uses_faiss = uses_faiss
        self._index: VectorIndex | None = None
        self._facts: list[tuple[int, Fact]] = []
        self._said: dict[int, int] = {}
        self.seqs: set[int] = set()

    @property
    def size(self) -> int:
        return len(self._facts)

    def clear(self) -> None:
        self._index = None
        self._facts.clear()
        self.seqs.clear()

    def add(self, rows: list[FactRow], said: dict[int, int]) -> None:
        self._said = said
        if not rows:
            return
        vectors = np.stack([np.frombuffer(row.vector or b"", np.float32) for row in rows])
        if self._index is None:
            self._index = open_index(self._dimensions, uses_faiss=self._uses_faiss)
        self._index.add(vectors)
        self._facts += [(row.seq, row.fact) for row in rows]
        self.seqs |= {row.seq for row in rows}

    def search(self, vectors: Vectors, limit: int) -> list[ScoredFact]:
        if self._index is None:
            return []
        scores, places = self._index.search(_rows(vectors), min(limit, self.size))
        found = []
        for score, place in zip(scores[0], places[0], strict=True):
            seq, fact = self._facts[place]
            scored = Fact(
                id=fact.id,
                text=fact.text,
                created_s=fact.created_s,
                session_id=fact.session_id,
                score=float(score),
            )
            found.append(ScoredFact(scored, self._said.get(seq, 0)))
        return found


def _rows(vectors: Vectors) -> Vectors:
    return np.ascontiguousarray(vectors, np.float32)


def _map_error(error: Exception, path: Path) -> AdapterError:
    code = getattr(error, "sqlite_errorname", "") or ""
    if code.startswith("SQLITE_FULL") or getattr(error, "errno", None) == 28:
        return AdapterError(
            "memory-full", "The disk is full: nothing can be remembered.", hint="Free some space."
        )
    if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return AdapterError(
            "memory-damaged",
            f"The memory '{path}' is damaged.",
            hint="Move the file away and load a saved state.",
        )
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return AdapterError("memory-busy", "Another process keeps the memory locked.", retryable=True)
    reason = getattr(error, "strerror", None) or str(error)
    return AdapterError("memory-failed", f"The memory '{path}' cannot be used: {reason}.")
