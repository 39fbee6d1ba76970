"""A scripted chat model.

It owns replies, their pace and a record of what was asked; it understands nothing.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipecatapp.errors import AdapterError
from pipecatapp.ports import ChatDelta, ChatRequest


@dataclass(frozen=True)
class BreaksOff:
    """A reply that fails with `error` after `text` was said."""

    text: str = ""
    error: AdapterError = field(
        default_factory=lambda: AdapterError("llm-broke-off", "the fake broke off", retryable=True)
    )


Reply = str | BreaksOff
Script = Sequence[Reply] | Callable[[ChatRequest], Reply]


class FakeLlm:
    """An LLM that says what it is told to.

    Args:
        replies: Said in turn, the last one for ever; or a function of the request.
        token_delay_s: Time before each token (seconds); 0 only yields to the loop.
        sleep: What waits; a test's virtual clock may own it.
        error: Raised by every `stream`, when set.
    """

    def __init__(
        self,
        replies: Script = ("All right.",),
        *,
        token_delay_s: float = 0.0,
        sleep: Callable[[float], Any] = asyncio.sleep,
        error: AdapterError | None = None,
    ) -> None:
        self._replies = replies
        self._token_delay_s = token_delay_s
        self._sleep = sleep
        self.error = error
        self.requests: list[ChatRequest] = []
        self.prefills: list[ChatRequest] = []
        self.cancelled = 0
        """How many answers were closed before their end."""
        self.is_closed = False

    @property
    def name(self) -> str:
        return "fake model"

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatDelta]:
        if request.grammar and request.json_schema is not None:
            raise AdapterError("llm-request", "a request takes a JSON schema or a grammar, not both")
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        reply = self._reply(request)
        text = _rest(reply if isinstance(reply, str) else reply.text, request)
        tokens = re.findall(r"\s*\S+\s*$|\s*\S+", text)
        finish = "length" if len(tokens) > request.max_tokens else "stop"
        said = 0
        try:
            for token in tokens[: request.max_tokens]:
                await self._sleep(self._token_delay_s)
                said += 1
                yield ChatDelta(text=token)
        except GeneratorExit:
            self.cancelled += 1
            raise
        if isinstance(reply, BreaksOff):
            raise reply.error
        prompt = sum(len(message.content.split()) for message in request.messages)
        yield ChatDelta(text="", finish=finish, prompt_tokens=prompt, completion_tokens=said)

    async def prefill(self, request: ChatRequest) -> None:
        self.prefills.append(request)

    async def close(self) -> None:
        self.is_closed = True

    def _reply(self, request: ChatRequest) -> Reply:
        if callable(self._replies):
            reply = self._replies(request)
        else:
            reply = self._replies[min(len(self.requests), len(self._replies)) - 1]
        if isinstance(reply, str) and request.json_schema is not None:
            return reply if _is_json(reply) else json.dumps(_smallest(request.json_schema))
        return reply


def _rest(text: str, request: ChatRequest) -> str:
    """Return what comes after the assistant's words that end the prompt."""
    last = request.messages[-1]
    return text.removeprefix(last.content) if last.role == "assistant" else text


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _smallest(schema: Mapping[str, Any]) -> Any:
    """Return the plainest value of a schema: first of an enum, zero, empty, required keys only."""
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return _smallest(schema[key][0])
    kind = schema.get("type", "object")
    if kind == "object":
        properties = schema.get("properties", {})
        return {
            name: _smallest(properties.get(name, {"type": "string"})) for name in schema.get("required", ())
        }
    plain: dict[str, Any] = {"array": [], "string": "", "integer": 0, "number": 0, "boolean": False}
    return plain.get(kind)
