"""Replication of the memory: its events, the journal of a node, and the replica that outlives a node.

Not here: hashing and auditing events (`event_log`), and when a write counts (`memory/replicated_memory`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar, runtime_checkable

from pipecatapp.ports.memory import Fact, MemoryState, StoredTurn

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

REPLICA_UNAVAILABLE = "replica-away"
"""Code of the error: it is not known what became of the call."""
REPLICA_FENCED = "replica-fenced"
"""Code of the error: another instance has the lock or wrote, and nothing was changed."""


@dataclass(frozen=True, slots=True)
class KeptTurn:
    """A turn and the conversation that it belongs to."""

    session_id: str
    turn: StoredTurn


EventKind = Literal[
    "fact-added", "fact-said-again", "fact-deleted", "all-deleted", "turn-appended", "state-imported"
]
"""What can happen to the memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEvent:
    """One change of the memory, in a chain that only grows; what it is about lies apart.

    Args:
        seq: Number, from 1, without a gap.
        at_s: Seconds since the epoch.
        kind: What happened.
        ref: The fact's id, `SESSION/TURN` of a turn, or how many facts were forgotten or imported.
        request_id: Name of the request, which is done once however often it comes; "" for none.
        payload_sha256: Hash of the content and its salt, or "" for an event without content.
        prev: Hash of the event before; 64 zeros for the first.
        hash: Hash of all the above.
    """

    seq: int
    at_s: float
    kind: EventKind
    ref: str
    request_id: str
    payload_sha256: str
    prev: str
    hash: str


@dataclass(frozen=True, slots=True)
class MemoryItem:
    """A fact or turn that is kept now.

    Args:
        salt: Random hex digits, hashed together with the content; erased with it.
        origin: Number of the event that brought it.
        said: Number of the event in which it was said last.
        content: The fact or turn.
    """

    salt: str
    origin: int
    said: int
    content: Fact | KeptTurn


@dataclass(frozen=True, slots=True)
class MemoryChange:
    """An event, and the item as it is after it; None when the event leaves none."""

    event: MemoryEvent
    item: MemoryItem | None = None


@dataclass(frozen=True, slots=True)
class WriteIntent(Generic[T_co]):
    """A write intent: planned, not applied.

    Args:
        result: What the caller is told.
        changes: Empty when there is nothing to do, or it was done before.
    """

    result: T_co
    changes: Sequence[MemoryChange] = ()


class MemoryJournal(Protocol):
    """This node's events and items, with writes that are planned first and then applied.

    Every method blocks, and all are called from one thread, which `JournaledStore.use` sees to.
    """

    def head(self, *, settled: bool = False) -> tuple[int, str]:
        """Return number and hash of the last event; with `settled`, of the last before any pending one."""
        ...

    def events(self, *, after: int = 0, up_to: int | None = None) -> list[MemoryEvent]:
        """Return events in order."""
        ...

    def items(self) -> list[MemoryItem]:
        """Return every fact and turn as it is kept."""
        ...

    def pending(self) -> list[MemoryChange]:
        """Return the changes that the replica has yet to learn of; without an item where it is gone since."""
        ...

    def plan_fact(self, fact: Fact, request_id: str = "") -> WriteIntent[Fact]:
        """Plan to keep a fact, or to count the known one that says the same as said now."""
        ...

    def plan_delete_fact(self, fact_id: str, request_id: str = "") -> WriteIntent[bool]:
        """Plan to remove a fact; the result is False when there is none."""
        ...

    def plan_delete_all(self, request_id: str = "") -> WriteIntent[int]:
        """Plan to remove every fact and turn; the result is how many facts there are."""
        ...

    def plan_turn(self, session_id: str, turn: StoredTurn, request_id: str = "") -> WriteIntent[None]:
        """Plan to keep a turn; one that is already kept stays as it is."""
        ...

    def plan_import(self, state: MemoryState, request_id: str = "") -> WriteIntent[None]:
        """Plan to replace everything.

        Raises:
            AdapterError: Two facts of the state have one id.
        """
        ...

    def plan_merge(self, state: MemoryState, request_id: str = "") -> WriteIntent[int]:
        """Plan to add what is not known yet; the result is how many facts and turns are new."""
        ...

    def change(self, plan: Callable[[], WriteIntent[T]], *, pending: bool = False) -> T:
        """Plan and apply a write in one transaction; return the plan's result."""
        ...

    def apply(self, changes: Sequence[MemoryChange], *, pending: bool) -> None:
        """Apply what was planned; nobody else may have written since.

        Args:
            changes: The plan's.
            pending: Whether the replica has yet to learn of them.
        """
        ...

    def goes_on_from(self, seq: int, event_hash: str) -> bool:
        """Whether event `seq` has that hash, and all that follow it here are pending."""
        ...

    def settle(self, seq: int) -> None:
        """Note that the replica has all up to event `seq`."""
        ...

    def hand_over(self) -> None:
        """Note that the instance which leads now was given what is pending."""
        ...

    def replace(self, after: int, events: Sequence[MemoryEvent], items: Sequence[MemoryItem]) -> None:
        """Take over another chain and what is kept by it.

        Args:
            after: Last event that both chains have; later ones of this node are dropped.
            events: The other chain's events after that one.
            items: All that is kept.
        """
        ...


class JournaledStore(Protocol):
    """A memory store of this node whose writes can be planned, so that a replica agrees before they count."""

    def new_fact(self, text: str, *, session_id: str = "", fact_id: str = "") -> Fact:
        """Return `text` as a fact of now, not yet kept.

        Raises:
            AdapterError: It is empty.
        """
        ...

    async def use(self, call: Callable[[MemoryJournal], T]) -> T:
        """Return `call` of the journal, run on its thread.

        Raises:
            AdapterError: The store cannot be used.
        """
        ...

    async def index(self) -> None:
        """Give new facts their vectors; when that fails, the next search does it."""
        ...

    async def search(self, query: str, *, limit: int) -> list[Fact]:
        """Return the facts nearest in meaning, best first."""
        ...

    async def list_facts(self) -> list[Fact]:
        """Return every fact, oldest first."""
        ...

    async def recent_turns(self, session_id: str, *, limit: int) -> list[StoredTurn]:
        """Return a conversation's last turns, oldest first."""
        ...

    async def export_state(self) -> MemoryState:
        """Return everything, as of one moment."""
        ...

    async def close(self) -> None:
        """Let go of files."""
        ...


@dataclass(frozen=True, slots=True)
class ReplicaHead:
    """How far a replica is.

    Args:
        seq: Number of its last event.
        hash: That event's hash.
        version: The replica's own mark of this state of the head.
    """

    seq: int
    hash: str
    version: str = ""


@runtime_checkable
class MemoryReplica(Protocol):
    """The memory's second home, which outlives the node and lets one instance at a time write.

    Every method raises AdapterError: `replica-away` when it is not known what became of the call,
    `replica-fenced` when another instance holds the lock, or wrote, and nothing was changed.
    """

    @property
    def name(self) -> str:
        """What it is, in words a person knows."""
        ...

    @property
    def lease_s(self) -> float:
        """How long the lock outlives its last renewal (seconds)."""
        ...

    async def acquire(self, address: str) -> bool:
        """Take the lock, or keep it; False while another instance has it. `address`: shown to others."""
        ...

    async def renew(self) -> bool:
        """Say that this instance lives; False when its lock is lost."""
        ...

    async def release(self) -> None:
        """Give the lock away, so that another instance need not wait."""
        ...

    async def holder(self) -> str:
        """Return the address of the instance that has the lock, or ""."""
        ...

    async def head(self) -> ReplicaHead | None:
        """Return how far it is; None when it is empty."""
        ...

    async def events(self, *, after: int) -> list[MemoryEvent]:
        """Return the events up to the head with larger numbers than `after`, in order."""
        ...

    async def items(self) -> list[MemoryItem]:
        """Return what is kept now, by `origin`."""
        ...

    async def append(self, head: ReplicaHead | None, changes: Sequence[MemoryChange]) -> ReplicaHead:
        """Keep further changes, in order, each whole or not at all; return the new head."""
        ...

    async def replace(
        self, head: ReplicaHead | None, events: Sequence[MemoryEvent], items: Sequence[MemoryItem]
    ) -> ReplicaHead:
        """Keep further events, and `items` instead of all there were, all or nothing; return the new head."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
