"""Every conversation of this process, and the memory that they share.

It owns opening, finding and closing sessions, and one text turn from question to reply; what a turn
is, is the session's, and how a request reaches this class is the web and voice layers'.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipecatapp.agent.session import Prefill, RunWorkflow, Session, no_prefill
from pipecatapp.agent.turn import Turn
from pipecatapp.errors import AdapterError, SessionError
from pipecatapp.events import SessionStarted, TurnFinished
from pipecatapp.memory.short_term import KEPT_TURNS
from pipecatapp.memory.state_file import decode_state, encode_state
from pipecatapp.ports import Clock, Fact, MemoryStore, SavedState, SavedStates, StoredTurn
from pipecatapp.settings import Settings

log = logging.getLogger(__name__)

MAX_SESSIONS = 500
"""Sessions held at once; an idle one is a few kilobytes and is revived from the store when it comes back."""
SEARCH_LIMIT = 50
"""Most facts that one search returns."""

_SESSION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatReply:
    """A finished text turn. `latency_ms`: from the question to the whole answer (milliseconds)."""

    session_id: str
    text: str
    interrupted: bool
    tool_calls: tuple[dict[str, Any], ...]
    latency_ms: float

    def to_wire(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return asdict(self)


class TwinService:
    """The conversations of one process.

    Args:
        run_workflow: Makes the answers: `WorkflowRunner.run`.
        store: Long-term memory; closed by whoever made it.
        clock: Time.
        settings: Bounds and this worker's number.
        states: Where saved states are kept.
        prefill: Warms the model's prompt cache: `WorkflowRunner.prefill`.
    """

    def __init__(
        self,
        run_workflow: RunWorkflow,
        store: MemoryStore,
        clock: Clock,
        settings: Settings,
        states: SavedStates,
        *,
        prefill: Prefill = no_prefill,
    ) -> None:
        self._run_workflow = run_workflow
        self._prefill = prefill
        self._store = store
        self._clock = clock
        self._settings = settings
        self._states = states
        self._sessions: dict[str, Session] = {}
        self._started_s = clock.monotonic_s()
        self._is_closed = False

    async def open(self, session_id: str = "") -> Session:
        """Return a session: a new one for "", else the one of that name, revived from the store if need be.

        Raises:
            SessionError: The name is not known (404), there are too many sessions (503), or the service
                stops (503).
        """
        if self._is_closed:
            raise SessionError("stopping", "The agent is stopping.", retryable=True, status=503)
        if session_id in self._sessions:
            session = self._sessions[session_id]
            session.touch()
            return session
        if not session_id:
            prefix = f"w{self._settings.worker}-" if self._settings.worker else ""
            return await self._start(Session(prefix + secrets.token_urlsafe(12), **self._session_parts()))
        if not _SESSION_ID.fullmatch(session_id):
            raise self._unknown(session_id)
        turns = await self._turns_of(session_id)
        if session_id in self._sessions:
            return self._sessions[session_id]
        if turns is not None and not turns:
            raise self._unknown(session_id)
        return await self._start(Session(session_id, turns=turns, **self._session_parts()))

    async def resume(self, session_id: str) -> Session:
        """Return the session of that name, or a new one when it is not known: for a page that comes back.

        Raises:
            SessionError: There are too many sessions, or the service stops (503).
        """
        try:
            return await self.open(session_id)
        except SessionError as exc:
            if exc.code != "unknown-session":
                raise
            return await self.open()

    def get(self, session_id: str) -> Session:
        """Return an open session.

        Raises:
            SessionError: There is none of that name (404).
        """
        try:
            return self._sessions[session_id]
        except KeyError:
            raise self._unknown(session_id) from None

    def sessions(self) -> list[dict[str, Any]]:
        """Return every open session in words and numbers, for people."""
        return [
            {
                "session_id": session.id,
                "created_s": session.created_s,
                "turns": len(session.turns),
                "listeners": session.bus.subscriber_count,
                "in_use": session.is_in_use,
                "idle_s": round(session.idle_s, 1),
            }
            for session in self._sessions.values()
        ]

    def status(self) -> dict[str, Any]:
        """Return what runs here, in words and numbers."""
        return {
            "worker": self._settings.worker,
            "uptime_s": round(self._clock.monotonic_s() - self._started_s, 1),
            "sessions": len(self._sessions),
            "sessions_in_use": sum(session.is_in_use for session in self._sessions.values()),
            "max_sessions": MAX_SESSIONS,
        }

    async def chat(self, session_id: str, text: str) -> ChatReply:
        """Answer `text` in a session ("" for a new one) and return when the answer is whole.

        Raises:
            SessionError: Unknown session (404), empty (422) or too long a text (413).
        """
        reply: ChatReply | None = None
        async for piece in await self.stream_chat(session_id, text):
            if isinstance(piece, ChatReply):
                reply = piece
        if reply is None:
            raise SessionError("turn-lost", "The turn ended without a reply.", retryable=True, status=500)
        return reply

    async def stream_chat(self, session_id: str, text: str) -> AsyncIterator[str | ChatReply]:
        """Begin to answer `text`; return an iterator over the pieces, and last the reply.

        A reader that goes away ends the turn with what was written so far.

        Raises:
            SessionError: Unknown session (404), empty (422) or too long a text (413); at once, not at the
                first piece.
        """
        return self.pieces(*await self.begin_text(session_id, text))

    async def begin_text(self, session_id: str, text: str) -> tuple[Session, Turn]:
        """Begin to answer `text` in a session ("" for a new one); a text that is refused opens none.

        Raises:
            SessionError: Unknown session (404), empty (422) or too long a text (413).
        """
        Session.check_text(text, self._settings.max_text_chars)
        session = await self.open(session_id)
        return session, session.begin_turn(text, "text")

    async def close_idle(self, idle_s: float) -> int:
        """Close the sessions that nobody has used for `idle_s` seconds; return how many."""
        idle = [session for session in self._sessions.values() if session.idle_s > idle_s]
        for session in idle:
            await self.close_session(session.id)
        return len(idle)

    async def close_session(self, session_id: str) -> None:
        """Close one session; what was said in it stays in the store.

        Raises:
            SessionError: There is none of that name (404).
        """
        session = self.get(session_id)
        del self._sessions[session_id]
        await session.close()

    async def close(self) -> None:
        """Close every session and open no more."""
        self._is_closed = True
        for session_id in list(self._sessions):
            await self.close_session(session_id)

    async def save_state(self, name: str) -> SavedState:
        """Write the whole memory to the saved state `name`.

        Raises:
            ConfigError: The name is wrong or the state cannot be written.
        """
        state = await self._store.export_state()
        now_s = self._clock.wall_s()
        data = await asyncio.to_thread(encode_state, state, saved_s=now_s)
        return await self._states.save(name, data, saved_s=now_s)

    async def load_state(self, name: str) -> Mapping[str, int]:
        """Replace the whole memory by the saved state `name`; return how much it holds.

        Raises:
            ConfigError: There is no such state, or it is damaged or too new; the memory is left as it is.
        """
        state = await asyncio.to_thread(decode_state, name, await self._states.load(name))
        await self._store.import_state(state)
        await self._reload_sessions()
        return {"facts": len(state.facts), "conversations": len(state.conversations)}

    async def list_states(self) -> list[SavedState]:
        """Return the saved states, newest first."""
        return list(await self._states.list())

    async def search_memory(self, query: str, *, limit: int = SEARCH_LIMIT) -> list[Fact]:
        """Return the facts nearest to `query`, best first; every fact, newest first, when it is empty."""
        if query.strip():
            return await self._store.search(query, limit=min(limit, SEARCH_LIMIT))
        return (await self._store.list_facts())[::-1]

    async def delete_memory(self, fact_id: str) -> None:
        """Forget one fact.

        Raises:
            SessionError: There is none of that name (404).
        """
        if not await self._store.delete_fact(fact_id):
            raise SessionError("unknown-fact", f"There is no fact '{fact_id[:64]}' in the memory.")

    async def delete_all_memory(self) -> int:
        """Forget every fact and every conversation, also what open sessions still hold; return the facts."""
        count = await self._store.delete_all()
        await self._reload_sessions()
        return count

    async def pieces(self, session: Session, turn: Turn) -> AsyncGenerator[str | ChatReply, None]:
        """Yield a text turn's answer piece by piece, and last the reply.

        Closed before its end, it ends the turn with what was written so far.
        """
        is_whole = False
        result: TurnFinished | None = None
        try:
            async for piece in turn.deltas():
                yield piece
            is_whole = True
        finally:
            result = await turn.finish(interrupted=not is_whole)
        if result is not None:
            if self._settings.benchmark_mode:
                log.info("Turn latency", extra={"turn_id": turn.id, "latency_ms": result.latency_ms})
            yield ChatReply(
                session_id=session.id,
                text=result.text,
                interrupted=result.interrupted,
                tool_calls=result.tool_calls,
                latency_ms=result.latency_ms,
            )

    async def _turns_of(self, session_id: str) -> list[StoredTurn] | None:
        """Return what the store has of a conversation; None while the store is away.

        Whether there is such a conversation cannot be told then, and whoever comes back to one is let in:
        its past is read once the store answers.
        """
        try:
            return await self._store.recent_turns(session_id, limit=KEPT_TURNS)
        except AdapterError as exc:
            log.warning("A conversation goes on without its past", extra={"code": exc.code})
            return None

    async def _start(self, session: Session) -> Session:
        self._sessions[session.id] = session
        session.publish(SessionStarted())
        try:
            await self._evict_idle()
        except SessionError:
            del self._sessions[session.id]
            raise
        return session

    async def _evict_idle(self) -> None:
        while len(self._sessions) > MAX_SESSIONS:
            longest = max(self._sessions.values(), key=lambda session: session.idle_s)
            if longest.is_in_use:
                raise SessionError(
                    "too-many-sessions",
                    f"{MAX_SESSIONS} conversations are open, which is the limit.",
                    hint="Try again in a minute.",
                    retryable=True,
                    status=503,
                )
            await self.close_session(longest.id)

    async def _reload_sessions(self) -> None:
        for session in list(self._sessions.values()):
            await session.reload()

    def _session_parts(self) -> dict[str, Any]:
        return {
            "run_workflow": self._run_workflow,
            "store": self._store,
            "clock": self._clock,
            "max_text_chars": self._settings.max_text_chars,
            "prefill": self._prefill,
        }

    def _unknown(self, session_id: str) -> SessionError:
        return SessionError(
            "unknown-session",
            f"There is no conversation '{session_id[:64]}'.",
            hint="Open a new one by leaving the session's name away.",
        )
