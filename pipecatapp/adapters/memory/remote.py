"""The cluster's memory seen from an agent: the memory service over HTTP.

It owns what an agent does while the service is away; addresses and time-outs are `client`'s.

A write that cannot be delivered waits in a queue and is delivered later, in order; each has an id by which
the service knows what it has already. The queue lives as long as this process. What a person asks for and
waits for (forgetting, saving and loading) is not queued: it is done, or refused in words.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar
from uuid import uuid4

from pydantic import TypeAdapter, ValidationError

from pipecatapp.adapters.memory.client import (
    BULK_TIMEOUT_S,
    READ_TIMEOUT_S,
    WRITE_TIMEOUT_S,
    MemoryServiceClient,
)
from pipecatapp.adapters.memory.state_folder import check_state_name
from pipecatapp.errors import AdapterError, ConfigError
from pipecatapp.ports import Clock, Fact, MemoryChange, MemoryState, SavedState, StoredTurn
from pipecatapp.ports import memory_api as wire
from pipecatapp.ports.event_log import AuditReport

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_QUEUED = 1000
"""Writes that wait; at two a turn, five hundred turns."""
KNOWN_CONVERSATIONS = 500
"""Conversations whose last turns are held; as many as sessions may be open."""
KNOWN_TURNS = 20
"""Turns held of each; more than a prompt has."""
RETRY_S = 1.0
"""Time between two tries to deliver (seconds)."""
CLOSE_TIMEOUT_S = 3.0
"""Longest wait for the queue when the agent stops (seconds)."""


class RemoteMemoryStore:
    """A MemoryStore that a service keeps.

    Args:
        http: The connection; closed with this.
        clock: Dates facts that wait.
    """

    def __init__(self, http: MemoryServiceClient, clock: Clock) -> None:
        self._http = http
        self._clock = clock
        self._queue: deque[tuple[str, Mapping[str, Any]]] = deque()
        self._writing = asyncio.Lock()
        self._delivery: asyncio.Task[None] | None = None
        self._known: OrderedDict[str, list[StoredTurn]] = OrderedDict()

    def status(self) -> dict[str, Any]:
        """Return which memory this is and how it is, for people."""
        return {
            "kind": "remote",
            "url": self._http.url,
            "is_away": self._http.is_away,
            "queued": len(self._queue),
        }

    async def add_fact(self, text: str, *, session_id: str = "") -> Fact:
        """Remember `text`; saying a known fact again returns the known one.

        Raises:
            AdapterError: It is empty or too long, or the queue is full.
        """
        text = " ".join(text.split())
        if not text:
            raise AdapterError("empty-fact", "An empty fact cannot be remembered.", status=422)
        body = _body(lambda: wire.AddFact(request_id=uuid4().hex, text=text, session_id=session_id))
        reply = await self._write("/v1/facts", body)
        if reply is None:
            return Fact(
                id=body["request_id"], text=text, created_s=self._clock.wall_s(), session_id=session_id
            )
        return _parse(wire.FACT, reply)

    async def search(self, query: str, *, limit: int) -> list[Fact]:
        """Return the facts nearest in meaning, best first.

        Raises:
            AdapterError: The service is away.
        """
        body = _body(lambda: wire.Search(query=query[: wire.MAX_TEXT_CHARS], limit=limit))
        return _parse(wire.FACTS, await self._read("POST", "/v1/search", body))

    async def list_facts(self) -> list[Fact]:
        """Return every fact, oldest first.

        Raises:
            AdapterError: The service is away.
        """
        return _parse(wire.FACTS, await self._read("GET", "/v1/facts"))

    async def delete_fact(self, fact_id: str) -> bool:
        """Forget one fact; False when there was none.

        Raises:
            AdapterError: The service is away.
        """
        body = _body(lambda: wire.DeleteFact(request_id=uuid4().hex, fact_id=fact_id))
        return bool((await self._ask("/v1/facts/delete", body))["deleted"])

    async def delete_all(self) -> int:
        """Forget every fact and conversation; return how many facts there were.

        Raises:
            AdapterError: The service is away.
        """
        reply = await self._ask("/v1/forget", {"request_id": uuid4().hex})
        self._known.clear()
        return int(reply["deleted"])

    async def append_turn(self, session_id: str, turn: StoredTurn) -> None:
        """Add a finished turn to a conversation.

        Raises:
            AdapterError: The queue is full.
        """
        record = wire.TurnRecord.of(turn)
        body = _body(lambda: wire.AppendTurn(request_id=uuid4().hex, session_id=session_id, turn=record))
        await self._write("/v1/turns", body)
        if session_id in self._known:
            self._know(session_id, [*self._known[session_id], turn])

    async def recent_turns(self, session_id: str, *, limit: int) -> list[StoredTurn]:
        """Return a conversation's last turns, oldest first; what was last known while the service is away.

        Raises:
            AdapterError: The service is away, and the conversation is not known here.
        """
        body = _body(lambda: wire.RecentTurns(session_id=session_id, limit=limit))
        try:
            turns = _parse(wire.TURNS, await self._read("POST", "/v1/turns/recent", body))
        except AdapterError:
            if session_id not in self._known:
                raise
            turns = self._known[session_id]
        else:
            self._know(session_id, turns)
        kept = {turn.turn_id for turn in turns}
        waiting = [turn for turn in self._waiting_turns(session_id) if turn.turn_id not in kept]
        return [*turns, *waiting][-limit:] if limit > 0 else []

    async def export_state(self) -> MemoryState:
        """Return everything.

        Raises:
            AdapterError: The service is away.
        """
        return _parse(wire.STATE, await self._ask_bulk("GET", "/v1/state"))

    async def import_state(self, state: MemoryState) -> None:
        """Replace everything by `state`, all or nothing.

        Raises:
            AdapterError: The service is away, or refuses the state.
        """
        body = {"request_id": uuid4().hex, "state": wire.STATE.dump_python(state, mode="json")}
        await self._ask("/v1/state", body, timeout_s=BULK_TIMEOUT_S)
        self._known.clear()

    async def merge_state(self, state: MemoryState) -> int:
        """Add what is not known yet; return how many facts and turns were new.

        Raises:
            AdapterError: The service is away, or refuses the state.
        """
        body = {"request_id": uuid4().hex, "state": wire.STATE.dump_python(state, mode="json")}
        return int((await self._ask("/v1/state/merge", body, timeout_s=BULK_TIMEOUT_S))["added"])

    async def verify(self) -> AuditReport:
        """Return what the service's verifier finds.

        Raises:
            AdapterError: The service is away.
        """
        return _parse(wire.REPORT, await self._ask_bulk("GET", "/v1/verify"))

    async def close(self) -> None:
        """Deliver what waits, for a moment, and let go of connections."""
        if self._delivery is not None:
            self._delivery.cancel()
            await asyncio.wait({self._delivery})
        with suppress(AdapterError, TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S), self._writing:
                await self._deliver()
        if self._queue:
            log.error("Writes were lost with this process", extra={"count": len(self._queue)})
        await self._http.close()

    async def _read(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        reply = await self._http.send(method, path, json=body, timeout_s=READ_TIMEOUT_S, waits=False)
        return _json(reply.content)

    async def _ask_bulk(self, method: str, path: str) -> Any:
        return _json((await self._http.send(method, path, timeout_s=BULK_TIMEOUT_S)).content)

    async def _write(self, path: str, body: Mapping[str, Any]) -> Any | None:
        """Deliver a write and return the reply, or None when it waits."""
        async with self._writing:
            if not self._queue:
                try:
                    return await self._send(path, body, waits=False)
                except AdapterError as exc:
                    if not exc.retryable:
                        raise
                    log.warning("A write waits for the memory service", extra={"code": exc.code})
            if len(self._queue) >= MAX_QUEUED:
                raise AdapterError(
                    "memory-queue-full",
                    f"The memory service is away, and {MAX_QUEUED} changes wait for it already.",
                    retryable=True,
                )
            self._queue.append((path, body))
        if self._delivery is None or self._delivery.done():
            self._delivery = asyncio.create_task(self._keep_delivering(), name="memory-delivery")
        return None

    async def _ask(
        self, path: str, body: Mapping[str, Any], *, timeout_s: float = WRITE_TIMEOUT_S
    ) -> dict[str, Any]:
        """Deliver a write that a person waits for, behind all that wait."""
        async with self._writing:
            await self._deliver()
            for is_last in (False, True):
                try:
                    reply = await self._send(path, body, timeout_s=timeout_s)
                    break
                except AdapterError as exc:
                    # Whether it was done may be unknown: the same id again tells, and does it if it was not.
                    if is_last or not exc.retryable:
                        raise
        return dict(reply)

    async def _keep_delivering(self) -> None:
        while self._queue:
            try:
                async with self._writing:
                    await self._deliver()
            except AdapterError:
                await asyncio.sleep(RETRY_S)
        log.info("What waited for the memory service is delivered")

    async def _deliver(self) -> None:
        """Deliver what waits, in order; the lock is held.

        Raises:
            AdapterError: The service is away.
        """
        while self._queue:
            path, body = self._queue[0]
            try:
                await self._send(path, body)
            except AdapterError as exc:
                if exc.retryable:
                    raise
                log.error("The memory service refused a change", extra={"code": exc.code})
            self._queue.popleft()

    async def _send(
        self, path: str, body: Mapping[str, Any], *, timeout_s: float = WRITE_TIMEOUT_S, waits: bool = True
    ) -> Any:
        reply = await self._http.send("POST", path, json=body, timeout_s=timeout_s, waits=waits)
        return _json(reply.content)

    def _waiting_turns(self, session_id: str) -> list[StoredTurn]:
        return [
            wire.TurnRecord.model_validate(body["turn"]).to_turn()
            for path, body in self._queue
            if path == "/v1/turns" and body["session_id"] == session_id
        ]

    def _know(self, session_id: str, turns: Sequence[StoredTurn]) -> None:
        self._known[session_id] = list(turns)[-KNOWN_TURNS:]
        self._known.move_to_end(session_id)
        if len(self._known) > KNOWN_CONVERSATIONS:
            self._known.popitem(last=False)


class RemoteStates:
    """A SavedStates that the memory service keeps.

    Args:
        http: The connection; closed by whoever made it.
    """

    def __init__(self, http: MemoryServiceClient) -> None:
        self._http = http

    async def save(self, name: str, data: bytes, *, saved_s: float) -> SavedState:
        """Keep `data`; a reader sees the old copy or the new one.

        Raises:
            ConfigError: The name is wrong (422), or it cannot be written (507).
            AdapterError: The service is away.
        """
        path, params = f"/v1/states/{check_state_name(name)}", {"saved_s": repr(saved_s)}
        return _parse(wire.SAVED, await self._send("POST", path, content=data, params=params))

    async def load(self, name: str) -> bytes:
        """Return a copy.

        Raises:
            ConfigError: The name is wrong (422), or there is none (404).
            AdapterError: The service is away.
        """
        return await self._send("GET", f"/v1/states/{check_state_name(name)}")

    async def list(self) -> Sequence[SavedState]:
        """Return what is saved, newest first.

        Raises:
            AdapterError: The service is away.
        """
        return _parse(wire.SAVED_LIST, await self._send("GET", "/v1/states"))

    async def _send(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        params: Mapping[str, str] | None = None,
    ) -> bytes:
        try:
            reply = await self._http.send(
                method, path, content=content, params=params, timeout_s=BULK_TIMEOUT_S
            )
        except AdapterError as exc:
            if exc.code.startswith("state-") or exc.code == "unknown-state":
                raise ConfigError(exc.code, exc.message, hint=exc.hint, status=exc.status) from exc
            raise
        return reply.content


def handover_sender(
    make: Callable[[str], MemoryServiceClient],
) -> Callable[[str, Sequence[MemoryChange]], Awaitable[None]]:
    """Return what gives an instance's pending changes to the one that leads.

    Args:
        make: Returns a connection to the instance at an address.
    """

    async def hand_over(address: str, changes: Sequence[MemoryChange]) -> None:
        http = make(address)
        try:
            body = {"changes": wire.CHANGES.dump_python(list(changes), mode="json")}
            await http.send("POST", "/v1/hand-over", json=body, timeout_s=BULK_TIMEOUT_S)
        finally:
            await http.close()

    return hand_over


def _body(make: Callable[[], Any]) -> dict[str, Any]:
    """Return a request's body, or say why there is none."""
    try:
        return dict(make().to_wire())
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise AdapterError("memory-refused", f"{where}: {first['msg']}", status=422) from exc


def _json(data: bytes) -> Any:
    return _parse(_ANY, data)


_ANY: TypeAdapter[Any] = TypeAdapter(Any)


def _parse(adapter: TypeAdapter[T], data: object) -> T:
    try:
        return adapter.validate_json(data) if isinstance(data, bytes) else adapter.validate_python(data)
    except ValidationError as exc:
        raise AdapterError(
            "memory-nonsense",
            "What answers is not this version's memory service.",
            hint="Install the same version of Twin on every node.",
        ) from exc
