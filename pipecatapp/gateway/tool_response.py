"""Responses to requests with tools, in OpenAI's format.

It owns the form of calls, whole and streamed; how they are read from a model's text is `tool_call_parser`'s.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

from pipecatapp.errors import AdapterError
from pipecatapp.gateway.openai_format import DONE, event, new_id
from pipecatapp.gateway.tool_call_parser import Piece, ToolCallStreamParser
from pipecatapp.gateway.tool_emulation import EmulatedToolRequest
from pipecatapp.sse import SseReader

_NO_SERVER = AdapterError("upstream-broke-off", "The model's server answered in a form that is not known.")


def whole_answer(emulated: EmulatedToolRequest, body: bytes) -> dict[str, Any]:
    """Return a model's whole answer with its call, if it is one, as `tool_calls`.

    Raises:
        AdapterError: The answer is none.
    """
    try:
        answer: dict[str, Any] = json.loads(body)
        choice = answer["choices"][0]
        text = choice["message"].get("content") or ""
    except (ValueError, LookupError, TypeError, AttributeError) as exc:
        raise _NO_SERVER from exc
    reader = ToolCallStreamParser(emulated.reply_tool, reply_is_text=emulated.reply_is_text)
    pieces = [*reader.feed(text), *reader.end()]
    by_kind = {
        kind: "".join(piece.text for piece in pieces if piece.kind == kind)
        for kind in ("tool", "arguments", "words")
    }
    if reader.is_call:
        choice["message"] = {"role": "assistant", "content": None, "tool_calls": [_call(**by_kind)]}
        if choice.get("finish_reason") == "stop":
            choice["finish_reason"] = "tool_calls"
    else:
        choice["message"] = {"role": "assistant", "content": by_kind["words"]}
    return answer


def _call(tool: str, arguments: str, words: str) -> dict[str, Any]:
    del words
    return {"id": new_id("call_"), "type": "function", "function": {"name": tool, "arguments": arguments}}


async def streamed_answer(
    emulated: EmulatedToolRequest, pieces: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    """Yield a model's streamed answer, an event for each piece of a call or of words.

    Args:
        emulated: The request.
        pieces: The server's own stream; it is closed with this one.
    """
    reader = ToolCallStreamParser(emulated.reply_tool, reply_is_text=emulated.reply_is_text)
    head: dict[str, Any] = {}
    finish = ""
    usage: Any = None
    async with aclosing(pieces):
        async for value in _events(pieces):
            if "error" in value:
                yield event(value)
                return
            if not head:
                head = _head_of(value)
                yield _chunk(head, {"role": "assistant", "content": None})
            usage = value.get("usage") or usage
            for choice in value.get("choices") or ():
                for piece in reader.feed((choice.get("delta") or {}).get("content") or ""):
                    yield _chunk(head, _delta(piece))
                finish = choice.get("finish_reason") or finish
    for piece in reader.end():
        yield _chunk(head, _delta(piece))
    if finish == "stop" and reader.is_call:
        finish = "tool_calls"
    yield _chunk(head, {}, finish or "stop")
    if emulated.wants_usage:
        yield event({**head, "choices": [], "usage": usage})
    yield DONE


async def _events(pieces: AsyncIterator[bytes]) -> AsyncIterator[Mapping[str, Any]]:
    """Yield the JSON of each server-sent event."""
    reader = SseReader()
    async for piece in pieces:
        for found in reader.feed(piece):
            if found.name == "error" or found.is_done:
                continue
            try:
                value = json.loads(found.data)
            except ValueError:
                continue  # a line that was cut; what broke the stream off comes as an event of its own
            if isinstance(value, dict):
                yield value


def _head_of(value: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": value.get("id") or new_id("chatcmpl-"),
        "object": "chat.completion.chunk",
        "created": value.get("created") or 0,
        "model": value.get("model") or "",
    }


def _chunk(head: Mapping[str, Any], delta: Mapping[str, Any], finish: str | None = None) -> bytes:
    return event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


def _delta(piece: Piece) -> dict[str, Any]:
    match piece.kind:
        case "words":
            return {"content": piece.text}
        case "tool":
            function = {"name": piece.text, "arguments": ""}
            return {
                "tool_calls": [{"index": 0, "id": new_id("call_"), "type": "function", "function": function}]
            }
        case "arguments":
            return {"tool_calls": [{"index": 0, "function": {"arguments": piece.text}}]}
