"""Text: one turn of a conversation over HTTP, whole or streamed.

It owns the request's shape and the stream's; the turn is the agent's.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict

from pipecatapp.agent.service import ChatReply
from pipecatapp.errors import AgentError
from pipecatapp.web.dependencies import Context

router = APIRouter(prefix="/api/chat", tags=["text"])


class Chat(BaseModel):
    """What the user wrote. Without a session a new one begins; `stream` asks for server-sent events."""

    model_config = ConfigDict(extra="forbid")
    text: str
    session_id: str = ""
    stream: bool = False


@router.post("")
async def chat(body: Chat, context: Context) -> Response:
    """Answer one text."""
    service = context.service
    if not body.stream:
        return JSONResponse((await service.chat(body.session_id, body.text)).to_wire())
    session, turn = await service.begin_text(body.session_id, body.text)
    start = {"session_id": session.id, "turn_id": turn.id}
    return StreamingResponse(
        _stream(start, service.pieces(session, turn)),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store"},
    )


async def _stream(start: dict[str, str], pieces: AsyncGenerator[str | ChatReply, None]) -> AsyncIterator[str]:
    """Yield `start`, `delta` events, then `done`; a client that leaves ends the turn."""
    yield _event("start", start)
    async with aclosing(pieces):
        try:
            async for piece in pieces:
                if isinstance(piece, ChatReply):
                    yield _event("done", piece.to_wire())
                else:
                    yield _event("delta", {"text": piece})
        except AgentError as exc:
            yield _event("error", exc.to_wire()["error"])


def _event(name: str, data: Mapping[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"
