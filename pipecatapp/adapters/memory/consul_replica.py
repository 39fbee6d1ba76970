"""The memory's replica in Consul's keys.

It owns the keys and their sizes; when to write what is `memory/replicated_memory`'s.

    PREFIX/lock                       locked by the session of the instance that leads; its address
    PREFIX/head                       {"seq", "hash", "generation"}; check-and-set orders all writes
    PREFIX/events/BBBBBBBB/NNN        event number 1000 * B + N
    PREFIX/items/GENERATION/SHA       a fact or turn that is kept now; SHA is that of its name

Every write is one transaction that first checks the lock and the head, so an instance that lost the lock
changes nothing, however late its request arrives. What replaces everything is written under a generation
that no head names yet, and counts once the head does.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from pipecatapp.adapters.consul.kv import (
    ANSWER_TIMEOUT_S,
    BULK_TIMEOUT_S,
    MAX_BYTES,
    MAX_OPERATIONS,
    ConsulKv,
    Operation,
    check_lock,
    delete,
    delete_below,
    put,
    put_if,
    size_of,
)
from pipecatapp.errors import AdapterError
from pipecatapp.ports import (
    REPLICA_FENCED,
    MemoryChange,
    MemoryEvent,
    MemoryItem,
    ReplicaHead,
)
from pipecatapp.ports.event_log import key_of

log = logging.getLogger(__name__)

PREFIX = "twin/memory"
"""Where the keys are."""
LEASE_S = 10.0
"""Life of the lock beyond its last renewal (seconds): Consul's least; it waits up to twice that."""
LOCK_DELAY_S = 1.0
"""How long Consul keeps a lost lock free (seconds); transactions check it, so none is needed for safety."""
BLOCK = 1000
"""Events of one block of keys: read by one request of about a megabyte."""
RESERVED_BYTES = 2_000
"""Bytes of a transaction: the checks and the head."""
RESERVED_OPERATIONS = 3
"""Of a transaction: the check of the lock, the head, and the removal of a generation."""

T = TypeVar("T")
Made = tuple[MemoryChange | None, list[Operation]]
"""Operations that belong together, and the change that they stand for."""

_EVENT = TypeAdapter(MemoryEvent)
_ITEM = TypeAdapter(MemoryItem)


class ConsulReplica:
    """A MemoryReplica in Consul.

    Args:
        kv: The connection; closed with this.
        session_file: Where this instance notes its session, so that its next start ends it; None for nowhere.
        prefix: Where the keys are.
    """

    def __init__(self, kv: ConsulKv, *, session_file: Path | None = None, prefix: str = PREFIX) -> None:
        self._kv = kv
        self._session_file = session_file
        self._prefix = prefix
        self._session = ""

    @property
    def name(self) -> str:
        """What it is, in words a person knows."""
        return f"Consul at {self._kv.url}"

    @property
    def lease_s(self) -> float:
        """How long the lock outlives its last renewal (seconds)."""
        return LEASE_S

    async def acquire(self, address: str) -> bool:
        """Take the lock, or keep it; False while another instance has it."""
        if not self._session:
            await self._end_last_session()
            self._session = await self._kv.create_session(
                "twin memory", ttl_s=LEASE_S, lock_delay_s=LOCK_DELAY_S
            )
            self._note_session()
        elif not await self.renew():
            return False
        found = await self._kv.get(self._key("lock"))
        if found is not None and found.session not in ("", self._session):
            return False
        return await self._kv.lock(self._key("lock"), _json({"address": address}), self._session)

    async def renew(self) -> bool:
        """Say that this instance lives; False when its lock is lost."""
        session = self._session
        if session and not await self._kv.renew_session(session) and self._session == session:
            self._session = ""
        return self._session != ""

    async def release(self) -> None:
        """Give the lock away, so that another instance need not wait."""
        if self._session:
            await self._kv.unlock(self._key("lock"), self._session)
            await self._kv.destroy_session(self._session)
            self._session = ""

    async def holder(self) -> str:
        """Return the address of the instance that has the lock, or ""."""
        found = await self._kv.get(self._key("lock"))
        if found is None or not found.session:
            return ""
        return str(_object(found.value).get("address", ""))

    async def head(self) -> ReplicaHead | None:
        """Return how far it is; None when it is empty."""
        found = await self._kv.get(self._key("head"))
        if found is None:
            return None
        value = _object(found.value)
        return ReplicaHead(int(str(value["seq"])), str(value["hash"]), f"{found.index}:{value['generation']}")

    async def events(self, *, after: int) -> list[MemoryEvent]:
        """Return the events up to the head with larger numbers than `after`, in order."""
        head = await self.head()
        events: list[MemoryEvent] = []
        last = head.seq if head else 0
        for block in range((after + 1) // BLOCK, last // BLOCK + 1):
            found = await self._kv.below(self._key(f"events/{block:08d}/"))
            events += [_parse(_EVENT, entry.value) for entry in found]
        return sorted((event for event in events if after < event.seq <= last), key=lambda event: event.seq)

    async def items(self) -> list[MemoryItem]:
        """Return what is kept now, by `origin`."""
        head = await self.head()
        items: list[MemoryItem] = []
        for digit in "0123456789abcdef" if head else "":
            found = await self._kv.below(self._key(f"items/{_generation(head)}/{digit}"))
            items += [_parse(_ITEM, entry.value) for entry in found]
        return sorted(items, key=lambda item: item.origin)

    async def append(self, head: ReplicaHead | None, changes: Sequence[MemoryChange]) -> ReplicaHead:
        """Keep further changes, in order, each whole or not at all; return the new head."""
        generation = _generation(head) or secrets.token_hex(4)
        for batch in _batches([(change, self._operations(change, generation)) for change in changes]):
            operations = [operation for _, made in batch for operation in made]
            last = batch[-1][0]
            assert last is not None
            timeout_s = ANSWER_TIMEOUT_S if len(changes) == 1 else BULK_TIMEOUT_S
            head = await self._advance(head, last.event, generation, operations, timeout_s)
        assert head is not None, "nothing was appended to nothing"
        return head

    async def replace(
        self, head: ReplicaHead | None, events: Sequence[MemoryEvent], items: Sequence[MemoryItem]
    ) -> ReplicaHead:
        """Keep further events, and `items` instead of all there were, all or nothing; return the new head."""
        await self._sweep(head)
        generation = secrets.token_hex(4)
        staged = [put(self._event_key(event.seq), _EVENT.dump_json(event)) for event in events]
        staged += [put(self._item_key(generation, item), _ITEM.dump_json(item)) for item in items]
        for batch in _batches([(None, [operation]) for operation in staged]):
            operations = [self.guard(), *(made[0] for _, made in batch)]
            await self._kv.transact(operations, timeout_s=BULK_TIMEOUT_S)
        former = _generation(head)
        erase = [delete_below(self._key(f"items/{former}/"))] if former else []
        return await self._advance(head, events[-1], generation, erase, BULK_TIMEOUT_S)

    def guard(self) -> Operation:
        """Return the operation that fails a transaction unless this instance has the lock.

        Raises:
            AdapterError: `replica-fenced`: it is known not to.
        """
        if not self._session:
            raise AdapterError(
                REPLICA_FENCED, "This instance of the memory service does not lead.", retryable=True
            )
        return check_lock(self._key("lock"), self._session)

    async def close(self) -> None:
        """Let go of connections."""
        await self._kv.close()

    async def _sweep(self, head: ReplicaHead | None) -> None:
        """Remove what was written for a generation that no head came to name."""
        found = await self._kv.names(self._key("items/"), separator="/")
        current = self._key(f"items/{_generation(head)}/")
        for prefix in found:
            if prefix != current:
                erase = [self.guard(), delete_below(prefix)]
                await self._kv.transact(erase, timeout_s=BULK_TIMEOUT_S)

    async def _advance(
        self,
        head: ReplicaHead | None,
        event: MemoryEvent,
        generation: str,
        operations: Iterable[Operation],
        timeout_s: float,
    ) -> ReplicaHead:
        value = _json({"seq": event.seq, "hash": event.hash, "generation": generation})
        index = int(head.version.partition(":")[0]) if head else 0
        key = self._key("head")
        all_of_it = [self.guard(), put_if(key, value, index), *operations]
        written = await self._kv.transact(all_of_it, timeout_s=timeout_s)
        version = next(entry.index for entry in written if entry.key == key)
        return ReplicaHead(event.seq, event.hash, f"{version}:{generation}")

    def _operations(self, change: MemoryChange, generation: str) -> list[Operation]:
        event, item = change.event, change.item
        operations = [put(self._event_key(event.seq), _EVENT.dump_json(event))]
        if event.kind == "fact-deleted":
            operations.append(delete(self._name_key(generation, ("fact", event.ref))))
        elif item is not None:
            operations.append(put(self._item_key(generation, item), _ITEM.dump_json(item)))
        return operations

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}"

    def _event_key(self, seq: int) -> str:
        return self._key(f"events/{seq // BLOCK:08d}/{seq % BLOCK:03d}")

    def _item_key(self, generation: str, item: MemoryItem) -> str:
        return self._name_key(generation, key_of(item.content))

    def _name_key(self, generation: str, name: tuple[str, str]) -> str:
        sha = hashlib.sha256("\0".join(name).encode()).hexdigest()[:40]
        return self._key(f"items/{generation}/{sha}")

    async def _end_last_session(self) -> None:
        """End the session of this folder's last run, which cannot renew it any more."""
        if self._session_file is None or not self._session_file.is_file():
            return
        session = self._session_file.read_text(encoding="ascii").strip()
        if session:
            await self._kv.destroy_session(session)
        self._session_file.unlink(missing_ok=True)

    def _note_session(self) -> None:
        if self._session_file is not None:
            file = os.open(self._session_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(file, "w", encoding="ascii") as note:
                note.write(self._session)


def _batches(made: Sequence[Made]) -> Iterator[list[Made]]:
    """Cut operations into transactions; what belongs together stays together.

    Raises:
        AdapterError: One change alone is too large (413).
    """
    batch: list[Made] = []
    count = size = 0
    for each in made:
        each_size = sum(map(size_of, each[1]))
        if each_size > MAX_BYTES - RESERVED_BYTES:
            raise AdapterError("memory-too-large", "This is too long to be remembered.", status=413)
        if batch and (
            count + len(each[1]) > MAX_OPERATIONS - RESERVED_OPERATIONS
            or size + each_size > MAX_BYTES - RESERVED_BYTES
        ):
            yield batch
            batch, count, size = [], 0, 0
        batch.append(each)
        count, size = count + len(each[1]), size + each_size
    if batch:
        yield batch


def _generation(head: ReplicaHead | None) -> str:
    return head.version.partition(":")[2] if head else ""


def _parse(adapter: TypeAdapter[T], value: bytes) -> T:
    try:
        return adapter.validate_json(value)
    except ValidationError as exc:
        raise _damaged(str(exc.errors()[0]["msg"])) from exc


def _object(value: bytes) -> dict[str, object]:
    try:
        found = json.loads(value)
    except ValueError as exc:
        raise _damaged(str(exc)) from exc
    return found if isinstance(found, dict) else {}


def _damaged(why: str) -> AdapterError:
    return AdapterError(
        "replica-damaged",
        f"The memory's keys in Consul are damaged: {why}.",
        hint="Restore Consul's snapshot (docs/memory.md).",
    )


def _json(value: dict[str, object]) -> bytes:
    return json.dumps(value).encode()
