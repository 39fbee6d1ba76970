"""The WebSocket of a conversation: every event out, text and commands in.

It owns the socket's protocol; events are the session's and turns the agent's.

Out: each event of `events.py` in order, with `seq`. In: `user_message {text}`, `interrupt`,
`resume {after_seq}` (only as the first message; else events begin where the session is now).
"""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated, Literal

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from pipecatapp.agent.session import Session
from pipecatapp.agent.turn import Turn
from pipecatapp.errors import AgentError, SessionError
from pipecatapp.events import ErrorRaised
from pipecatapp.web.dependencies import AgentContext

log = logging.getLogger(__name__)
router = APIRouter()

MAX_MESSAGE_CHARS = 100_000
"""Longest message taken from a client; texts are bounded further by the agent."""


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid")


class UserMessage(_Message):
    """Typed text."""

    type: Literal["user_message"]
    text: str


class Interrupt(_Message):
    """Stop speaking."""

    type: Literal["interrupt"]


class Resume(_Message):
    """Send the events after `after_seq` again."""

    type: Literal["resume"]
    after_seq: int = Field(ge=0)


_INCOMING: TypeAdapter[UserMessage | Interrupt | Resume] = TypeAdapter(
    Annotated[UserMessage | Interrupt | Resume, Field(discriminator="type")]
)


@router.websocket("/ws")
async def conversation(socket: WebSocket, session_id: str = "") -> None:
    """Follow and steer one conversation."""
    context = socket.app.state.context
    assert isinstance(context, AgentContext)
    await socket.accept()
    try:
        session = await context.service.resume(session_id)
    except AgentError as exc:
        await socket.send_json(exc.to_wire())
        await socket.close(1008, exc.message[:100])
        return
    await _Conversation(socket, session, context).run()


class _Conversation:
    """One socket on one session."""

    def __init__(self, socket: WebSocket, session: Session, context: AgentContext) -> None:
        self._socket = socket
        self._session = session
        self._context = context
        self._pump: asyncio.Task[None] | None = None
        self._turns: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve the socket until it closes; turns under way go on."""
        self._follow(self._session.bus.last_seq - 1 if self._session.bus.last_seq else 0)
        try:
            while True:
                text = await self._socket.receive_text()
                try:
                    await self._take(text)
                except AgentError as exc:
                    self._session.bus.publish(ErrorRaised(exc.code, exc.message, exc.hint))
        except (WebSocketDisconnect, RuntimeError):
            log.debug("A page left")
        finally:
            if self._pump is not None:
                self._pump.cancel()

    async def _take(self, text: str) -> None:
        if len(text) > MAX_MESSAGE_CHARS:
            raise SessionError("too-large", f"A message may have {MAX_MESSAGE_CHARS} characters.", status=413)
        try:
            message = _INCOMING.validate_json(text)
        except ValidationError as exc:
            raise SessionError(
                "bad-message",
                "I do not understand that message; known types: user_message, interrupt, resume.",
                status=422,
            ) from exc
        match message:
            case UserMessage():
                await self._say(message.text)
            case Interrupt():
                self._session.interrupt()
            case Resume():
                self._follow(message.after_seq)

    def _follow(self, after_seq: int) -> None:
        if self._pump is not None:
            self._pump.cancel()
        self._pump = asyncio.create_task(self._send_events(after_seq), name="socket-events")

    async def _send_events(self, after_seq: int) -> None:
        try:
            async with self._session.bus.subscribe(after_seq) as events:
                async for event in events:
                    await self._socket.send_json(event)
        except SessionError as exc:
            await self._socket.close(1013, exc.message[:100])
        except (WebSocketDisconnect, RuntimeError):
            log.debug("A page left while events were sent")

    async def _say(self, text: str) -> None:
        text = Session.check_text(text, self._context.settings.max_text_chars)
        if await self._context.calls.say(self._session.id, text):
            return
        turn = self._session.begin_turn(text, "text")
        task = asyncio.create_task(_play(turn), name=f"socket-turn-{turn.id}")
        self._turns.add(task)
        task.add_done_callback(self._turns.discard)


async def _play(turn: Turn) -> None:
    async for _ in turn.deltas():
        pass
    await turn.finish()
