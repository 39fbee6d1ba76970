"""A memory in a dict.

It owns facts and conversations for as long as the test runs; nearness is the given embedder's.
"""

from __future__ import annotations

import dataclasses
import itertools

from pipecatapp.adapters.memory.ranking import ScoredFact, normalise, rank
from pipecatapp.errors import AdapterError
from pipecatapp.ports import Embedder, Fact, MemoryState, StoredTurn
from testing.fakes.fake_embedder import FakeEmbedder


class FakeMemory:
    """A memory store that forgets everything with the process.

    Args:
        embedder: What measures nearness; shared words when None.
        wall_s: Time of every fact (seconds since the epoch).
    """

    def __init__(self, embedder: Embedder | None = None, *, wall_s: float = 1_795_359_600.0) -> None:
        self._embedder = embedder or FakeEmbedder()
        self._wall_s = wall_s
        self._ids = (f"fact-{number}" for number in itertools.count(1))
        self._facts: dict[str, Fact] = {}
        self._said: dict[str, int] = {}
        self._moments = itertools.count(1)
        self._turns: dict[str, list[StoredTurn]] = {}
        self.is_closed = False

    async def add_fact(self, text: str, *, session_id: str = "") -> Fact:
        text = " ".join(text.split())
        if not text:
            raise AdapterError("empty-fact", "An empty fact cannot be remembered.", status=422)
        known = next((f for f in self._facts.values() if normalise(f.text) == normalise(text)), None)
        fact = known or Fact(id=next(self._ids), text=text, created_s=self._wall_s, session_id=session_id)
        self._keep(fact)
        return fact

    async def search(self, query: str, *, limit: int) -> list[Fact]:
        if not self._facts:
            return []
        facts = list(self._facts.values())
        vectors = await self._embedder.embed([query, *(fact.text for fact in facts)])
        scores = vectors[1:] @ vectors[0]
        found = [
            ScoredFact(dataclasses.replace(fact, score=float(score)), self._said.get(fact.id, 0))
            for fact, score in zip(facts, scores, strict=True)
        ]
        return rank(found, limit)

    async def list_facts(self) -> list[Fact]:
        return list(self._facts.values())

    async def delete_fact(self, fact_id: str) -> bool:
        return self._facts.pop(fact_id, None) is not None

    async def delete_all(self) -> int:
        count = len(self._facts)
        self._facts.clear()
        self._turns.clear()
        return count

    async def append_turn(self, session_id: str, turn: StoredTurn) -> None:
        turns = self._turns.setdefault(session_id, [])
        if all(known.turn_id != turn.turn_id for known in turns):
            turns.append(turn)

    async def recent_turns(self, session_id: str, *, limit: int) -> list[StoredTurn]:
        return self._turns.get(session_id, [])[-limit:] if limit > 0 else []

    async def export_state(self) -> MemoryState:
        facts = sorted(self._facts.values(), key=lambda fact: self._said[fact.id])
        return MemoryState(tuple(facts), {name: tuple(turns) for name, turns in self._turns.items()})

    async def import_state(self, state: MemoryState) -> None:
        if len({fact.id for fact in state.facts}) < len(state.facts):
            raise AdapterError("memory-failed", "Two facts have one id.")
        self._facts.clear()
        for fact in state.facts:
            self._keep(fact)
        self._turns = {name: list(turns) for name, turns in state.conversations.items()}

    async def close(self) -> None:
        self.is_closed = True

    def _keep(self, fact: Fact) -> None:
        self._facts[fact.id] = fact
        self._said[fact.id] = next(self._moments)
