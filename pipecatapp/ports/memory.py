"""The long-term memory: facts, conversations, their store, and saved states.

Not here: replication between nodes (`replication`), how any of it is kept (`adapters/memory`), and what is
worth keeping (`workflow/nodes`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something the agent knows for good.

    Args:
        id: Stable name.
        text: One sentence.
        created_s: Seconds since the epoch.
        session_id: The conversation it was said in.
        score: Similarity with the query, -1 to 1; 0 outside a search.
    """

    id: str
    text: str
    created_s: float
    session_id: str = ""
    score: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTurn:
    """One finished turn of a conversation, as the store keeps it."""

    turn_id: str
    user_text: str
    assistant_text: str
    interrupted: bool
    created_s: float


@dataclass(frozen=True, slots=True)
class MemoryState:
    """The whole memory: facts and conversations (session id to turns, oldest first)."""

    facts: tuple[Fact, ...] = ()
    conversations: Mapping[str, tuple[StoredTurn, ...]] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is remembered."""
        return not (self.facts or self.conversations)


@runtime_checkable
class MemoryStore(Protocol):
    """Facts and conversations that outlive the process.

    What a call has returned survives `kill -9`; several processes may share one store.
    """

    async def add_fact(self, text: str, *, session_id: str = "") -> Fact:
        """Remember `text`; saying a known fact again returns the known one."""
        ...

    async def search(self, query: str, *, limit: int) -> list[Fact]:
        """Return the facts nearest in meaning, best first."""
        ...

    async def list_facts(self) -> list[Fact]:
        """Return every fact, oldest first."""
        ...

    async def delete_fact(self, fact_id: str) -> bool:
        """Forget one fact; False when there was none."""
        ...

    async def delete_all(self) -> int:
        """Forget every fact and conversation; return how many facts there were."""
        ...

    async def append_turn(self, session_id: str, turn: StoredTurn) -> None:
        """Add a finished turn to a conversation."""
        ...

    async def recent_turns(self, session_id: str, *, limit: int) -> list[StoredTurn]:
        """Return a conversation's last turns, oldest first."""
        ...

    async def export_state(self) -> MemoryState:
        """Return everything."""
        ...

    async def import_state(self, state: MemoryState) -> None:
        """Replace everything by `state`, all or nothing."""
        ...

    async def close(self) -> None:
        """Let go of files."""
        ...


@dataclass(frozen=True, slots=True)
class SavedState:
    """A saved state. `saved_s` in seconds since the epoch, `size_bytes` of its file."""

    name: str
    saved_s: float
    size_bytes: int


@runtime_checkable
class SavedStates(Protocol):
    """Named copies of the whole memory, as files in the format of `memory/state_file`.

    A name is 1 to 64 letters, digits, `-` or `_`; another one is a ConfigError (422).
    """

    async def save(self, name: str, data: bytes, *, saved_s: float) -> SavedState:
        """Keep `data`; a reader sees the old copy or the new one.

        Raises:
            ConfigError: The name is wrong (422), or it cannot be written (507).
            AdapterError: The place where states are kept is away.
        """
        ...

    async def load(self, name: str) -> bytes:
        """Return a copy.

        Raises:
            ConfigError: The name is wrong (422), or there is none (404): the message lists those there are.
            AdapterError: The place where states are kept is away.
        """
        ...

    async def list(self) -> Sequence[SavedState]:
        """Return what is saved, newest first.

        Raises:
            AdapterError: The place where states are kept is away.
        """
        ...
