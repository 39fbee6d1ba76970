"""The replicated memory: one instance leads, writes through a replica, and another can take over.

It owns when a change counts, what happens while the replica is away, and taking over; files, the replica's
wire and HTTP are others', and `replication_state` draws where an instance may stand.

A change is planned, agreed on by the replica, and then applied to this node's file. While the replica is
away, single changes are applied as pending and delivered later in order; a change of everything is refused,
because its meaning would depend on what others do meanwhile. An instance that lost the lock hands its
pending changes to the one that leads, which knows by their request ids what it has already.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from pipecatapp.errors import AdapterError
from pipecatapp.memory.replication_state import Event, State, after
from pipecatapp.ports import (
    REPLICA_FENCED,
    REPLICA_UNAVAILABLE,
    Clock,
    Fact,
    JournaledStore,
    KeptTurn,
    MemoryChange,
    MemoryJournal,
    MemoryReplica,
    MemoryState,
    ReplicaHead,
    StoredTurn,
    WriteIntent,
)
from pipecatapp.ports.event_log import AuditReport, verify

log = logging.getLogger(__name__)

T = TypeVar("T")
Inheritance = Callable[[], Awaitable[MemoryState | None]]
"""Reads what an empty memory begins with; None for nothing."""
HandOver = Callable[[str, Sequence[MemoryChange]], Awaitable[None]]
"""Gives changes to the instance at an address."""

RETRY_S = 1.0
"""Time between two tries while the lock is another's or the replica is away (seconds)."""
RENEWALS = 3
"""Renewals of the lock within its lease."""
_RESETS = ("all-deleted", "state-imported")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicationState:
    """How the service is.

    Args:
        is_ready: Whether it leads and knows it.
        detail: The same in words.
        role: `alone`, `leading`, `cut-off`, `waiting`.
        pending: Changes that the replica does not have yet.
        seq: Number of the last event.
    """

    is_ready: bool
    detail: str
    role: str
    pending: int
    seq: int


class ReplicatedMemory:
    """The shared memory: a MemoryStore whose writes take a request's id, and are done once per id.

    Args:
        store: This node's file; closed with this.
        replica: The second home; closed with this. None for none.
        address: Where other instances reach this one.
        clock: Time.
        hand_over: Gives pending changes to the instance that leads.
        inherit: What an empty memory begins with.

    Every call raises AdapterError: `memory-waiting` (503) while this instance does not lead.
    """

    def __init__(
        self,
        store: JournaledStore,
        replica: MemoryReplica | None,
        *,
        address: str,
        clock: Clock,
        hand_over: HandOver,
        inherit: Inheritance,
    ) -> None:
        self._store = store
        self._replica = replica
        self._address = address
        self._clock = clock
        self._hand_over = hand_over
        self._inherit = inherit
        self._indexing: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()
        self._wake = asyncio.Event()
        self._head: ReplicaHead | None = None
        self._at = State.ALONE if replica is None else State.WAITING
        self._heard_s = clock.monotonic_s()
        self._problem = "it has just started"

    async def run(self) -> None:
        """Hold or await the lock, and bring the replica what it lacks, until cancelled.

        Raises:
            AdapterError: Without a replica: this node's file cannot be used.
        """
        if self._replica is None:
            async with self._writing:
                await self._become_leader(None)
            return
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_renewing(self._replica), name="memory-lock")
            tasks.create_task(self._keep_synced(self._replica), name="memory-replica")

    async def state(self) -> ReplicationState:
        """Return how the service is."""
        seq, _ = await self._store.use(lambda journal: journal.head())
        if self._replica is None:
            return ReplicationState(
                is_ready=True,
                detail="keeps the memory in this node's file only",
                role="alone",
                pending=0,
                seq=seq,
            )
        pending = len(await self._store.use(lambda journal: journal.pending()))
        if not self._at.is_serving:
            return ReplicationState(
                is_ready=False,
                detail=self._problem or "another instance leads",
                role="waiting",
                pending=pending,
                seq=seq,
            )
        silent_s = self._clock.monotonic_s() - self._heard_s
        if silent_s > self._replica.lease_s:
            detail = f"{self._replica.name} has been away for {silent_s:.0f} s; {pending} changes wait for it"
            return ReplicationState(is_ready=False, detail=detail, role="cut-off", pending=pending, seq=seq)
        return ReplicationState(
            is_ready=True,
            detail=f"leads, with {self._replica.name}",
            role="leading",
            pending=pending,
            seq=seq,
        )

    async def add_fact(self, text: str, *, session_id: str = "", request_id: str) -> Fact:
        """Remember `text`, under the request's id; saying a known fact again returns the known one."""
        fact = self._store.new_fact(text, session_id=session_id, fact_id=request_id)
        return await self._write(lambda journal: journal.plan_fact(fact, request_id))

    async def search(self, query: str, *, limit: int) -> list[Fact]:
        """Return the facts nearest in meaning, best first."""
        return await self._serving().search(query, limit=limit)

    async def list_facts(self) -> list[Fact]:
        """Return every fact, oldest first."""
        return await self._serving().list_facts()

    async def delete_fact(self, fact_id: str, *, request_id: str) -> bool:
        """Forget one fact; False when there was none."""
        return await self._write(lambda journal: journal.plan_delete_fact(fact_id, request_id))

    async def delete_all(self, *, request_id: str) -> int:
        """Forget every fact and conversation; return how many facts there were."""
        return await self._write(lambda journal: journal.plan_delete_all(request_id), is_bulk=True)

    async def append_turn(self, session_id: str, turn: StoredTurn, *, request_id: str) -> None:
        """Add a finished turn to a conversation."""
        await self._write(lambda journal: journal.plan_turn(session_id, turn, request_id))

    async def recent_turns(self, session_id: str, *, limit: int) -> list[StoredTurn]:
        """Return a conversation's last turns, oldest first."""
        return await self._serving().recent_turns(session_id, limit=limit)

    async def export_state(self) -> MemoryState:
        """Return everything."""
        return await self._serving().export_state()

    async def import_state(self, state: MemoryState, *, request_id: str) -> None:
        """Replace everything by `state`, all or nothing."""
        await self._write(lambda journal: journal.plan_import(state, request_id), is_bulk=True)

    async def merge_state(self, state: MemoryState, *, request_id: str) -> int:
        """Add what is not known yet; return how many facts and turns were new."""
        return await self._write(lambda journal: journal.plan_merge(state, request_id), is_bulk=True)

    async def apply_handover(self, changes: Sequence[MemoryChange]) -> None:
        """Carry out what another instance took in while it could not reach the replica."""
        for change in changes:
            plan = _plan_again(change)
            if plan is not None:
                await self._write(plan)

    async def verify(self) -> AuditReport:
        """Return whether this node's file and the replica hold what the chain says."""
        async with self._writing:
            report = await self._store.use(_verify)
            if self._replica is None or not self._at.is_synced or not report.is_intact:
                return report
            there = verify(await self._replica.events(after=0), await self._replica.items())
            if there.is_intact and there.head != report.head:
                fault = f"the chain in {self._replica.name} ends otherwise than this node's"
                return AuditReport(
                    events=there.events,
                    items=there.items,
                    head=there.head,
                    broken_seq=min(there.events, report.events),
                    fault=fault,
                )
            return there

    async def close(self) -> None:
        """Give the lock away and close the file; call it when `run` has ended."""
        if self._indexing is not None:
            self._indexing.cancel()
            await asyncio.wait({self._indexing})
        if self._replica is not None:
            with suppress(AdapterError):
                await self._replica.release()
            await self._replica.close()
        await self._store.close()

    def _on(self, event: Event) -> None:
        self._at = after(self._at, event)

    def _serving(self) -> JournaledStore:
        if not self._at.is_serving:
            raise AdapterError(
                "memory-waiting",
                f"This instance of the memory service does not lead: {self._problem or 'another does'}.",
                hint="Ask again in a few seconds; the instance that leads is found in Consul.",
                retryable=True,
            )
        return self._store

    async def _write(self, plan: Callable[[MemoryJournal], WriteIntent[T]], *, is_bulk: bool = False) -> T:
        # A caller that goes away must not leave the file and the replica out of step.
        return await asyncio.shield(asyncio.ensure_future(self._carry_out(plan, is_bulk)))

    async def _carry_out(self, plan: Callable[[MemoryJournal], WriteIntent[T]], is_bulk: bool) -> T:
        async with self._writing:
            self._serving()
            if is_bulk and self._replica is not None and not self._at.is_synced:
                await self._catch_up(self._replica)
            planned = await self._commit(plan, is_bulk)
        if any(change.event.kind == "fact-added" for change in planned.changes):
            await self._store.index()
        return planned.result

    async def _commit(self, plan: Callable[[MemoryJournal], WriteIntent[T]], is_bulk: bool) -> WriteIntent[T]:
        planned = await self._store.use(plan)
        if planned.changes:
            is_kept = self._replica is None or await self._replicate(self._replica, planned.changes, is_bulk)
            await self._store.use(lambda journal: journal.apply(planned.changes, pending=not is_kept))
            self._on(Event.CAUGHT_UP if is_kept else Event.PARTED)
        return planned

    async def _replicate(
        self, replica: MemoryReplica, changes: Sequence[MemoryChange], is_bulk: bool
    ) -> bool:
        """Have the replica agree; False when it is away and the change has to wait."""
        if not self._at.is_synced:
            return False
        self._on(Event.PARTED)
        began_s = self._clock.monotonic_s()
        try:
            if any(change.event.kind in _RESETS for change in changes):
                items = [change.item for change in changes if change.item is not None]
                events = [change.event for change in changes]
                self._head = await replica.replace(self._head, events, items)
            else:
                self._head = await replica.append(self._head, changes)
        except AdapterError as exc:
            self._wake.set()
            if exc.code == REPLICA_FENCED:
                self._on(Event.FENCED)
                raise
            if exc.code == REPLICA_UNAVAILABLE and not is_bulk:
                return False
            raise
        self._heard_s = began_s
        return True

    async def _keep_renewing(self, replica: MemoryReplica) -> None:
        """Say again and again that this instance lives, whatever else it is busy with."""
        while True:
            await asyncio.sleep(replica.lease_s / RENEWALS)
            if not self._at.has_lock:
                continue
            began_s = self._clock.monotonic_s()
            try:
                if not await replica.renew():
                    self._on(Event.LOST)
                await self._detect_restore(replica)
            except AdapterError as exc:
                self._note(exc)
                continue
            self._heard_s = began_s
            if not self._at.has_lock:
                self._wake.set()

    async def _detect_restore(self, replica: MemoryReplica) -> None:
        """Catch up when a backup was restored beneath this instance."""
        if self._at.is_synced and not self._writing.locked():
            head = await replica.head()
            # A write that began meanwhile has moved the head itself; catching up then finds nothing to do.
            if self._at.is_synced and not self._writing.locked() and head != self._head:
                self._on(Event.PARTED)
                self._wake.set()

    async def _keep_synced(self, replica: MemoryReplica) -> None:
        while True:
            self._wake.clear()
            try:
                await self._step(replica)
                self._problem = ""
            except AdapterError as exc:
                self._note(exc)
            with suppress(TimeoutError):
                async with asyncio.timeout(None if self._at.has_lock and self._at.is_synced else RETRY_S):
                    await self._wake.wait()

    def _note(self, exc: AdapterError) -> None:
        if self._problem != exc.message:
            log.warning("The memory's replica is not in step", extra={"reason": exc.message})
        self._problem = exc.message

    async def _step(self, replica: MemoryReplica) -> None:
        began_s = self._clock.monotonic_s()
        if not self._at.has_lock:
            if not await replica.acquire(self._address):
                await self._follow(replica)
                return
            self._on(Event.ACQUIRED)  # from now on it is renewed
            try:
                async with self._writing:
                    await self._become_leader(replica)
            except AdapterError:
                self._on(Event.LOST)
                raise
            self._on(Event.TOOK_OVER)
        elif not self._at.is_synced:
            await replica.head()  # nobody's write waits for one that does not answer
            async with self._writing:
                await self._catch_up(replica)
        self._heard_s = began_s

    async def _become_leader(self, replica: MemoryReplica | None) -> None:
        """Become the one that leads: check this node's file, make it what the replica holds, inherit."""
        report = await self._store.use(_verify)
        if not report.is_intact:
            log.error("This node's memory is not what its chain says", extra={"fault": report.fault})
        if replica is not None:
            await self._catch_up(replica, trusts_file=report.is_intact)
        last_seq, _ = await self._store.use(lambda journal: journal.head())
        inherited = None if last_seq else await self._inherit()
        if inherited is not None:
            await self._commit(lambda journal: journal.plan_import(inherited), is_bulk=True)
        # It may take minutes on an old machine; a search that comes meanwhile waits for it.
        self._indexing = asyncio.create_task(self._store.index(), name="memory-index")
        log.info("This instance of the memory service leads", extra={"replica": replica and replica.name})

    async def _follow(self, replica: MemoryReplica) -> None:
        """Let another instance lead, and give it what this one took in meanwhile."""
        holder = await replica.holder()
        if not holder:
            return  # the lock was lost a moment ago and is kept free
        self._on(Event.FOLLOWED)
        pending = await self._store.use(lambda journal: journal.pending())
        if pending and holder != self._address:
            await self._hand_over(holder, pending)
            await self._store.use(lambda journal: journal.hand_over())
            log.info("Pending changes were handed over", extra={"count": len(pending)})
        raise AdapterError("memory-waiting", f"the instance at {holder} leads", retryable=True)

    async def _catch_up(self, replica: MemoryReplica, *, trusts_file: bool = True) -> None:
        """Make the file and the replica equal; the lock is ours."""
        use = self._store.use
        head = await replica.head()
        if head is None:
            events, items = await use(lambda journal: (journal.events(), journal.items()))
            if events:
                head = await replica.replace(None, events, items)
                await use(lambda journal: journal.settle(events[-1].seq))
        elif trusts_file and await use(lambda journal: journal.goes_on_from(head.seq, head.hash)):
            await use(lambda journal: journal.settle(head.seq))
        else:
            await self._adopt(replica, head, trusts_file=trusts_file)
        self._head = head
        pending = await use(lambda journal: journal.pending())
        if pending:
            self._head = await replica.append(head, pending)
            await use(lambda journal: journal.settle(pending[-1].event.seq))
        self._on(Event.CAUGHT_UP)

    async def _adopt(self, replica: MemoryReplica, head: ReplicaHead, *, trusts_file: bool) -> None:
        """Make the file what the replica holds; what is pending is planned anew behind it.

        Raises:
            AdapterError: The replica's chain is broken.
        """
        use = self._store.use
        pending = await use(lambda journal: journal.pending())
        after = (await use(lambda journal: journal.head(settled=True)))[0] if trusts_file else 0
        events = await replica.events(after=after)
        former = await use(lambda journal: journal.events(up_to=after))
        if after and (not events or events[0].prev != former[-1].hash):
            after, former, events = 0, [], await replica.events(after=0)
        items = await replica.items()
        report = verify([*former, *events], items)
        if not report.is_intact or report.head != head.hash:
            raise AdapterError(
                "memory-chain-broken",
                f"The memory in {replica.name} is not what its chain says:"
                f" {report.fault or 'its head is another'}.",
                hint="Restore a snapshot of Consul (docs/memory.md).",
            )
        await use(lambda journal: journal.replace(after, events, items))
        for change in pending:
            plan = _plan_again(change)
            if plan is not None:
                await use(partial(_apply_pending, plan))


def _apply_pending(plan: Callable[[MemoryJournal], WriteIntent[object]], journal: MemoryJournal) -> None:
    journal.change(lambda: plan(journal), pending=True)


def _verify(journal: MemoryJournal) -> AuditReport:
    return verify(journal.events(), journal.items())


def _plan_again(change: MemoryChange) -> Callable[[MemoryJournal], WriteIntent[object]] | None:
    """Return how to plan a pending change behind another head; None when what it is about is gone."""
    event, item = change.event, change.item
    # Every pending change has a request's id; its hash names one that an older program left without.
    request_id = event.request_id or event.hash
    if event.kind == "fact-deleted":
        return lambda journal: journal.plan_delete_fact(event.ref, request_id)
    if item is None:
        return None
    content = item.content
    if isinstance(content, KeptTurn):
        return lambda journal: journal.plan_turn(content.session_id, content.turn, request_id)
    return lambda journal: journal.plan_fact(content, request_id)
