"""One conversation: its turns, one at a time, its last words and its events.

It owns which turn runs and what the conversation remembers; opening, finding and closing sessions is
the service's.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from typing import Any

from pipecatapp.agent.bus import EventBus
from pipecatapp.agent.fallback_replies import without_fallback_reply
from pipecatapp.agent.turn import SPOKEN_GRACE_S, Turn
from pipecatapp.errors import AgentError, SessionError
from pipecatapp.events import Channel, Event
from pipecatapp.memory.short_term import KEPT_TURNS, ShortTermMemory
from pipecatapp.ports import Clock, MemoryStore, Message, StoredTurn
from pipecatapp.workflow.run_events import RunEvent
from pipecatapp.workflow.services import RunContext

log = logging.getLogger(__name__)

RunWorkflow = Callable[[Mapping[str, object], RunContext], AsyncIterator[RunEvent]]
"""Makes the answer to `{"user_text": str, "history": list[Message]}`; closing the iterator stops the work."""

Prefill = Callable[[list[Message], str, str], Coroutine[Any, Any, None]]
"""Lets the model read the conversation, and what is heard so far, before it has to answer; last comes the
session's name."""


async def no_prefill(_history: list[Message], _heard: str, _session_id: str) -> None:
    """Read nothing ahead."""


class Session:
    """One conversation, shared by voice and text; made by `TwinService.open`.

    Args:
        session_id: Its name.
        run_workflow: Makes the answers.
        store: Where finished turns are kept.
        clock: Time.
        turns: What was said before, oldest first; None when the store could not tell.
        max_text_chars: Longest text of a turn.
        prefill: Warms the model's prompt cache.
        spoken_grace_s: Seconds that the voice layer has to say what was spoken of an interrupted turn.
    """

    def __init__(
        self,
        session_id: str,
        *,
        run_workflow: RunWorkflow,
        store: MemoryStore,
        clock: Clock,
        turns: Iterable[StoredTurn] | None = (),
        max_text_chars: int,
        prefill: Prefill = no_prefill,
        spoken_grace_s: float = SPOKEN_GRACE_S,
    ) -> None:
        self.id = session_id
        self.bus = EventBus(session_id, clock)
        self.created_s = clock.wall_s()
        self._run_workflow = run_workflow
        self._store = store
        self._clock = clock
        self._short_term = ShortTermMemory(turns or ())
        self._knows_past = turns is not None
        self._max_text_chars = max_text_chars
        self._spoken_grace_s = spoken_grace_s
        self._prefill = prefill
        self._reading: asyncio.Task[None] | None = None
        self._current: Turn | None = None
        self._speculation: Turn | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._attached = 0
        self._last_active_s = clock.monotonic_s()

    @property
    def turns(self) -> tuple[StoredTurn, ...]:
        """The last finished turns, oldest first."""
        return self._short_term.turns

    @property
    def current(self) -> Turn | None:
        """The confirmed turn that is not finished yet."""
        return self._current if self._current and not self._current.is_finished else None

    @property
    def is_in_use(self) -> bool:
        """Whether an answer is being made, a call is attached or somebody listens."""
        is_running = self._current is not None and self._current.is_running
        return is_running or self._attached > 0 or self.bus.subscriber_count > 0

    @property
    def idle_s(self) -> float:
        """Seconds since it was last used; 0 while it is."""
        return 0.0 if self.is_in_use else self._clock.monotonic_s() - self._last_active_s

    def attach(self) -> None:
        """Keep the session open: a call began."""
        self._attached += 1

    def detach(self) -> None:
        """Let go of what `attach` kept."""
        self._attached = max(0, self._attached - 1)
        self.touch()

    def touch(self) -> None:
        """Note that the session is used."""
        self._last_active_s = self._clock.monotonic_s()

    @staticmethod
    def check_text(text: str, max_chars: int) -> str:
        """Return `text` without the space around it.

        Raises:
            SessionError: It is empty (422) or longer than `max_chars` (413).
        """
        text = text.strip()
        if not text:
            raise SessionError("empty-text", "There is nothing to answer: the text is empty.", status=422)
        if len(text) > max_chars:
            raise SessionError(
                "text-too-long",
                f"The text has {len(text)} characters; at most {max_chars} are allowed.",
                hint="Shorten it, or send it in parts.",
                status=413,
            )
        return text

    def begin_turn(self, text: str, channel: Channel, *, speculative: bool = False) -> Turn:
        """Begin to answer `text`; what runs is interrupted.

        Args:
            text: What the user said or wrote.
            channel: How it came in.
            speculative: True while the user may still go on speaking: nothing is published, interrupted or
                changed until `Turn.confirm`. A former speculation is withdrawn.

        Raises:
            SessionError: The text is empty (422) or too long (413), or the session is closed (410).
        """
        if self.bus.is_closed:
            raise SessionError("session-closed", "This conversation is closed; open a new one.", status=410)
        text = self.check_text(text, self._max_text_chars)
        self.touch()
        if self._reading is not None:
            self._reading.cancel()
        turn = Turn(self, secrets.token_urlsafe(9), text, channel, spoken_grace_s=self._spoken_grace_s)
        if speculative:
            if self._speculation is not None:
                self._speculation.drop()
            self._speculation = turn
        else:
            turn.confirm()
        return turn

    def prefill(self, heard: str = "") -> None:
        """Let the model read the conversation and `heard`, in the background, while nobody waits for it.

        The beginning of a turn stops it; while one reading runs, another is not begun.
        """
        if self._reading is not None and not self._reading.done():
            return
        self._reading = self.spawn(
            self._prefill(self._short_term.messages(without_fallback_reply), heard, self.id), "prefill"
        )

    def interrupt(self) -> bool:
        """Stop the running turn; False when there is none."""
        if self.current is None:
            return False
        self.current.interrupt()
        return True

    async def reload(self) -> None:
        """Read the last turns from the store again: they were replaced or forgotten there."""
        turns = await self._store.recent_turns(self.id, limit=KEPT_TURNS)
        if self._knows_past:
            self._short_term.replace(turns)
        else:
            self._short_term, self._knows_past = ShortTermMemory(turns), True

    async def close(self) -> None:
        """Interrupt what runs, keep what was said, and end every subscription."""
        if self._speculation is not None:
            self._speculation.drop()
        if self.current is not None:
            await self.current.finish(interrupted=True)
        self.bus.close()
        pending = {task for task in self._tasks if not task.done()}
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending)

    def publish(self, event: Event) -> None:
        """Hand an event to the bus."""
        self.bus.publish(event)

    def monotonic_s(self) -> float:
        """Seconds that never go back."""
        return self._clock.monotonic_s()

    def wall_s(self) -> float:
        """Seconds since the epoch."""
        return self._clock.wall_s()

    def run(self, inputs: Mapping[str, object], context: RunContext) -> AsyncIterator[RunEvent]:
        """Have an answer made."""
        return self._run_workflow(inputs, context)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `work` as a task that is kept until it is done, and whose failure is logged."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)
        return task

    async def history(self) -> list[Message]:
        """Return the last turns as messages.

        The store is asked each time, because another process may have replaced or forgotten them; what is
        held here is used when the store does not answer.
        """
        try:
            await self.reload()
        except AgentError as exc:
            log.warning("The conversation's past could not be read", extra={"code": exc.code})
        return self._short_term.messages(without_fallback_reply)

    async def record(self, turn: StoredTurn) -> None:
        """Keep a finished turn, here and in the store.

        Raises:
            AdapterError: The store failed; the turn is kept here only.
        """
        self._short_term.add(turn)
        self.touch()
        # The next prompt differs from what the model has read: the turn now stands in it as it was said.
        self.prefill()
        await self._store.append_turn(self.id, turn)

    def on_confirmed(self, turn: Turn) -> Turn | None:
        """Make `turn` the running one; return the unfinished one that it interrupts."""
        if self._speculation is turn:
            self._speculation = None
        previous, self._current = self.current, turn
        if previous is not None:
            previous.interrupt()
        return previous

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("A task of a session failed", exc_info=error)
