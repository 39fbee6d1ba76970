"""One turn: what the user said, the answer as it is made, and what of it was really said.

It owns the life of an answer: prepared in advance, confirmed, interrupted, finished or withdrawn.
Which turn may run when is the session's; how an answer is made is the workflow's.

    begun (speculative) --confirm--> confirmed --finish--> in history and store
            |                            |
         discard                     interrupt, then finish
            v
       leaves no trace
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import suppress
from typing import Any, Protocol

from pipecatapp.agent.fallback_replies import NO_ANSWER, fallback_reply_for
from pipecatapp.errors import AgentError, SessionError
from pipecatapp.events import (
    AssistantDelta,
    AssistantSpoken,
    Channel,
    ErrorRaised,
    Event,
    Interrupted,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    TurnStarted,
)
from pipecatapp.ports import Message, StoredTurn
from pipecatapp.workflow.run_events import EventRaised, RunEvent, RunFinished, TextPiece
from pipecatapp.workflow.services import RunContext

log = logging.getLogger(__name__)

SPOKEN_GRACE_S = 0.5
"""Seconds that the voice layer has to say what was spoken of a turn that another one interrupted."""


class TurnHost(Protocol):
    """What a turn needs of its session."""

    @property
    def id(self) -> str:
        """The session's name."""
        ...

    def publish(self, event: Event) -> None:
        """Hand an event to the session's bus."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never go back."""
        ...

    def wall_s(self) -> float:
        """Seconds since the epoch."""
        ...

    def run(self, inputs: Mapping[str, object], context: RunContext) -> AsyncIterator[RunEvent]:
        """Have the answer made."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `work` as a task that the session keeps."""
        ...

    async def history(self) -> list[Message]:
        """Return the conversation's last turns."""
        ...

    async def record(self, turn: StoredTurn) -> None:
        """Keep a finished turn, in memory and for good."""
        ...

    def on_confirmed(self, turn: Turn) -> Turn | None:
        """Make `turn` the running one; return the one that it interrupts."""
        ...


class Turn:
    """One turn of a conversation; made by `Session.begin_turn`.

    Args:
        host: Its session.
        turn_id: Name, unique in the session.
        text: What the user said or wrote.
        channel: How it came in.
        spoken_grace_s: See `SPOKEN_GRACE_S`.
    """

    def __init__(
        self,
        host: TurnHost,
        turn_id: str,
        text: str,
        channel: Channel,
        *,
        spoken_grace_s: float = SPOKEN_GRACE_S,
    ) -> None:
        self.id = turn_id
        self.text = text
        self.channel: Channel = channel
        self.interrupted = asyncio.Event()
        """Set once the user spoke or wrote over it: whoever plays it must stop."""
        self.result: TurnFinished | None = None
        """How it ended; None before."""
        self._host = host
        self._spoken_grace_s = spoken_grace_s
        self._context = RunContext(host.id, turn_id, asyncio.Event())
        self._pieces: list[str] = []
        self._spoken: list[str] = []
        self._deltas: asyncio.Queue[str | None] = asyncio.Queue()
        self._held: list[Event] = []
        self._is_released = False
        self._is_discarded = False
        self._has_consumer = False
        self._previous: Turn | None = None
        self._tool_calls: dict[str, dict[str, Any]] = {}
        self._run_task: asyncio.Task[None] | None = None
        self._release_task: asyncio.Task[None] | None = None
        self._finish_task: asyncio.Task[None] | None = None
        self._finished = asyncio.Event()
        self._began_s = host.monotonic_s()
        self._made_s: float | None = None

    @property
    def is_confirmed(self) -> bool:
        """Whether the user's turn is known to be over."""
        return self._context.confirmed.is_set()

    @property
    def is_discarded(self) -> bool:
        """Whether it was withdrawn."""
        return self._is_discarded

    @property
    def is_finished(self) -> bool:
        """Whether it is in the conversation."""
        return self._finished.is_set()

    @property
    def is_running(self) -> bool:
        """Whether its answer is being made."""
        return self._run_task is not None and not self._run_task.done()

    @property
    def answer(self) -> str:
        """What was made of the answer so far."""
        return "".join(self._pieces).strip()

    async def deltas(self) -> AsyncIterator[str]:
        """Yield the answer piece by piece; it never ends without a word unless it was cut.

        The answer is made from the first iteration on; closing the iterator stops that. A failure becomes
        an `ErrorRaised` and a sentence of apology. Interrupted or withdrawn, it just ends.

        Raises:
            SessionError: Somebody already reads this turn.
        """
        if self._has_consumer:
            raise SessionError("turn-already-read", "This turn's answer already goes elsewhere.", status=409)
        self._has_consumer = True
        if not (self._is_discarded or self.is_finished or self.interrupted.is_set()):
            self._run_task = self._host.spawn(self._run(), f"turn-{self.id}")
            try:
                while (piece := await self._deltas.get()) is not None:
                    yield piece
            finally:
                self._run_task.cancel()

    def confirm(self) -> None:
        """Say that the user's turn is really over: held events go out, effects may happen.

        Raises:
            SessionError: It was withdrawn before.
        """
        if self._is_discarded:
            raise SessionError("turn-discarded", "This turn was withdrawn.", status=409)
        if self.is_confirmed:
            return
        self._began_s = self._host.monotonic_s()
        self._previous = self._host.on_confirmed(self)
        self._context.confirmed.set()
        if self._previous is None or self._previous.is_finished:
            self._release()
        else:
            self._release_task = self._host.spawn(self._release_after_previous(), f"release-{self.id}")

    def interrupt(self) -> None:
        """Barge-in: stop at once because the user spoke or wrote over it.

        A text turn is finished with what was written; of a voice turn the voice layer says, by `finish`,
        what was spoken.
        """
        if self.interrupted.is_set() or self.is_finished or self._is_discarded or not self.is_confirmed:
            return
        self._mark_interrupted()
        if self.channel == "text":
            self._start_finish(None, interrupted=True)

    def mark_spoken(self, text: str) -> None:
        """Note, and publish, that the sound of `text`, one or more whole words, was sent."""
        self._spoken.append(text)
        self._publish(AssistantSpoken(self.id, text))

    async def finish(self, spoken: str | None = None, *, interrupted: bool = False) -> TurnFinished | None:
        """End the turn and keep it; called again, it only waits for the first call.

        Args:
            spoken: What was said of the answer. None is the whole of it, or, of an interrupted voice turn,
                what `mark_spoken` was told.
            interrupted: True when the answer was cut.

        Returns:
            How it ended, or None when it was never confirmed: then it is withdrawn instead.
        """
        if not self.is_confirmed:
            await self.discard()
            return None
        task = self._start_finish(spoken, interrupted=interrupted)
        await asyncio.shield(task)
        return self.result

    async def discard(self) -> None:
        """Withdraw an answer that was prepared in advance: no event, no history, no effect.

        Raises:
            SessionError: It was already confirmed; finish it instead.
        """
        if self.is_confirmed:
            raise SessionError("turn-confirmed", "A confirmed turn cannot be withdrawn.", status=409)
        self.drop()
        if self._run_task is not None:
            await _ended(self._run_task)

    def drop(self) -> None:
        """Withdraw without waiting for the work to have stopped."""
        if not self.is_confirmed:
            self._is_discarded = True
            self._held.clear()
            self._stop_run()

    async def settle(self) -> None:
        """Wait until the turn is in the conversation; a voice layer that stays silent is not waited for long.

        What was spoken is then what `mark_spoken` was told.
        """
        try:
            async with asyncio.timeout(self._spoken_grace_s):
                await self._finished.wait()
        except TimeoutError:
            await self.finish(interrupted=True)

    async def _run(self) -> None:
        try:
            if self._release_task is not None:
                await asyncio.shield(self._release_task)
            inputs = {"user_text": self.text, "history": await self._host.history()}
            await self._follow(self._host.run(inputs, self._context))
            if not self.answer:
                self._say(NO_ANSWER)
        except AgentError as exc:
            log.warning("A turn failed", extra={"code": exc.code, "pii_text": exc.message})
            self._fail(ErrorRaised(exc.code, exc.message, exc.hint), exc)
        except Exception as exc:
            log.exception("A turn failed by a fault of ours")
            self._fail(ErrorRaised("internal", "Something went wrong while I made the answer."), exc)
        finally:
            self._made_s = self._host.monotonic_s()
            self._deltas.put_nowait(None)

    async def _follow(self, pieces: AsyncIterator[RunEvent]) -> None:
        try:
            async for piece in pieces:
                if isinstance(piece, TextPiece):
                    self._say(piece.text)
                elif isinstance(piece, EventRaised):
                    self._note_tool(piece.event)
                    self._publish(piece.event)
                elif isinstance(piece, RunFinished):
                    self._tool_calls = {str(call["id"]): call for call in piece.tool_calls}
                    if not self.answer and piece.text.strip():
                        self._say(piece.text)
        finally:
            close = getattr(pieces, "aclose", None)
            if close is not None:
                await close()

    def _say(self, text: str) -> None:
        if text:
            self._pieces.append(text)
            self._publish(AssistantDelta(self.id, text))
            self._deltas.put_nowait(text)

    def _fail(self, event: ErrorRaised, error: Exception) -> None:
        self._publish(event)
        self._say((" " if self.answer else "") + fallback_reply_for(error))

    def _note_tool(self, event: Event) -> None:
        if isinstance(event, ToolStarted):
            self._tool_calls[event.call_id] = {
                "id": event.call_id,
                "name": event.name,
                "arguments": event.arguments,
            }
        elif isinstance(event, ToolFinished) and event.call_id in self._tool_calls:
            self._tool_calls[event.call_id].update(ok=event.ok, result=event.result)

    def _publish(self, event: Event) -> None:
        if self._is_discarded:
            return
        if self._is_released:
            self._host.publish(event)
        else:
            self._held.append(event)

    def _release(self) -> None:
        self._previous = None
        self._host.publish(TurnStarted(self.id, self.text, self.channel))
        for event in self._held:
            self._host.publish(event)
        self._held.clear()
        self._is_released = True

    async def _release_after_previous(self) -> None:
        if self._previous is not None:
            await self._previous.settle()
        self._release()

    def _mark_interrupted(self) -> None:
        self.interrupted.set()
        self._publish(Interrupted(self.id))
        self._stop_run()

    def _stop_run(self) -> None:
        if self._run_task is not None:
            self._run_task.cancel()
        self._deltas.put_nowait(None)

    def _start_finish(self, spoken: str | None, *, interrupted: bool) -> asyncio.Task[None]:
        if self._finish_task is None:
            work = self._finish(spoken, interrupted=interrupted)
            self._finish_task = self._host.spawn(work, f"finish-{self.id}")
        return self._finish_task

    async def _finish(self, spoken: str | None, *, interrupted: bool) -> None:
        if interrupted and not self.interrupted.is_set():
            self._mark_interrupted()
        self._stop_run()
        if self._run_task is not None:
            await _ended(self._run_task)
        if self._release_task is not None:
            await asyncio.shield(self._release_task)
        was_cut = self.interrupted.is_set()
        if spoken is None:
            spoken = " ".join(self._spoken) if was_cut and self.channel == "voice" else self.answer
        made_s = self._host.monotonic_s() if self._made_s is None else self._made_s
        self.result = TurnFinished(
            turn_id=self.id,
            text=" ".join(spoken.split()) if self.channel == "voice" else spoken.strip(),
            interrupted=was_cut,
            tool_calls=tuple(self._tool_calls.values()),
            latency_ms=round(max(0.0, made_s - self._began_s) * 1000, 1),
        )
        stored = StoredTurn(
            turn_id=self.id,
            user_text=self.text,
            assistant_text=self.result.text,
            interrupted=was_cut,
            created_s=self._host.wall_s(),
        )
        try:
            await self._host.record(stored)
        except AgentError as exc:
            log.warning("A turn could not be stored", extra={"code": exc.code})
            self._publish(ErrorRaised(exc.code, exc.message, exc.hint))
        finally:
            self._publish(self.result)
            self._finished.set()


async def _ended(task: asyncio.Task[None]) -> None:
    """Wait until a cancelled task has stopped; our own cancellation still counts."""
    if not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({task})
