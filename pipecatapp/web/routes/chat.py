"""Text: one turn of a conversation over HTTP, whole or streamed.

It owns the request's shape and the stream's; the turn is the agent's.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict

from pipecatapp.agent.session import Session
from pipecatapp.agent.turn import Turn
from pipecatapp.errors import AgentError
from pipecatapp.web.parts import AgentParts

router = APIRouter(prefix="/api/chat", tags=["text"])


class Chat(BaseModel):
    """What the user wrote. Without a session a new one begins; `stream` asks for server-sent events."""

    model_config = ConfigDict(extra="forbid")
    text: str
    session_id: str = ""
    stream: bool = False


@router.post("")
async def chat(body: Chat, parts: AgentParts) -> Response:
    """Answer one text."""
    service = parts.service
    session = await service.open(body.session_id)
    turn = session.begin_turn(body.text, "text")
    if body.stream:
        return StreamingResponse(
            _stream(session, turn), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )
    async for _ in turn.deltas():
        pass
    return JSONResponse(await _finish(session, turn))


async def _stream(session: Session, turn: Turn) -> AsyncIterator[str]:
    """Yield `delta` events, then `done`; a client that leaves interrupts the turn."""
    yield _event("start", {"session_id": session.id, "turn_id": turn.id})
    try:
        async for delta in turn.deltas():
            yield _event("delta", {"text": delta})
        yield _event("done", await _finish(session, turn))
    except AgentError as exc:
        yield _event("error", exc.to_wire()["error"])
    finally:
        if not turn.is_finished:
            turn.interrupt()


async def _finish(session: Session, turn: Turn) -> dict[str, Any]:
    result = await turn.finish()
    return {
        "session_id": session.id,
        "text": result.text if result else "",
        "interrupted": bool(result and result.interrupted),
        "tool_calls": list(result.tool_calls) if result else [],
        "latency_ms": result.latency_ms if result else 0.0,
    }


def _event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"
