"""A chat model behind an OpenAI-compatible HTTP server.

It owns the wire: requests, server-sent events and what each failure means. Starting a server is
`llm_server`'s business, choosing one is `app`'s.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import httpx

from pipecatapp.errors import AdapterError
from pipecatapp.ports import ChatDelta, ChatRequest

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 3.0
"""A server on the LAN accepts within milliseconds; more means that its machine is gone (seconds)."""
MAX_REASON_CHARS = 300
"""How much of a server's own words an error carries."""
_FINISHES = {"stop": "stop", "length": "length", "eos": "stop", "tool_calls": "stop"}


class OpenAiLlm:
    """Client of one `/chat/completions`.

    Args:
        base_url: Ends in /v1.
        model: Name to ask the server for.
        api_key: Sent as a bearer token; "" for none.
        name: What a person calls it; the model's name when "".
        request_timeout_s: Longest wait for the next byte (seconds, > 0).
        llama_extensions: The server is llama.cpp: it takes grammars, slots and prompt-cache hints.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str = "",
        *,
        name: str = "",
        request_timeout_s: float = 60.0,
        llama_extensions: bool = True,
    ) -> None:
        self._url = base_url.rstrip("/")
        self._model = model
        self._name = name or model
        self._llama_extensions = llama_extensions
        self._timeout_s = request_timeout_s
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(request_timeout_s, connect=CONNECT_TIMEOUT_S),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=8),
            trust_env=False,
        )

    @property
    def name(self) -> str:
        """What answers, in words a person knows."""
        return self._name

    async def stream(self, request: ChatRequest) -> AsyncGenerator[ChatDelta, None]:
        """Yield the answer piece by piece; closing the iterator closes the connection, which stops the work.

        Raises:
            AdapterError: `llm-unreachable`, `llm-timeout`, `llm-refused` or `llm-broke-off`; retryable
                when another try, or another server, may succeed.
        """
        body = self._body(request) | {"stream": True, "stream_options": {"include_usage": True}}
        try:
            async with self._client.stream("POST", f"{self._url}/chat/completions", json=body) as response:
                if response.status_code != httpx.codes.OK:
                    raise self._refusal(response.status_code, await response.aread())
                async with aclosing(_events(response)) as events:
                    async for delta in self._deltas(events):
                        yield delta
        except httpx.HTTPError as exc:
            raise self._failure(exc) from exc

    async def prefill(self, request: ChatRequest) -> None:
        """Warm the prompt cache; does nothing on a server that has none of ours, and never fails."""
        if not self._llama_extensions:
            return
        body = self._body(request) | {"stream": False, "max_tokens": 1}
        try:
            await self._client.post(f"{self._url}/chat/completions", json=body)
        except httpx.HTTPError as exc:
            logger.debug("prefill failed", extra={"error": type(exc).__name__})

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _body(self, request: ChatRequest) -> dict[str, Any]:
        if request.grammar and request.json_schema is not None:
            raise AdapterError("llm-request", "a request takes a JSON schema or a grammar, not both")
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": m.role, "content": m.content} for m in request.messages],
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
        }
        if request.stop:
            body["stop"] = list(request.stop)
        if request.json_schema is not None:
            schema = {"name": "answer", "strict": True, "schema": dict(request.json_schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if request.grammar:
            if not self._llama_extensions:
                raise AdapterError(
                    "llm-request",
                    f"{self._name} takes no grammar",
                    hint="Use a JSON schema, or a llama.cpp server.",
                )
            body["grammar"] = request.grammar
        if self._llama_extensions:
            body["cache_prompt"] = True
            if request.slot >= 0:
                body["id_slot"] = request.slot
        return body

    async def _deltas(
        self, events: AsyncGenerator[Mapping[str, Any], None]
    ) -> AsyncGenerator[ChatDelta, None]:
        finish = ""
        usage: dict[str, int] = {}
        async for event in events:
            if "error" in event:
                raise self._refusal(httpx.codes.INTERNAL_SERVER_ERROR, json.dumps(event).encode())
            usage = _usage(event) or usage
            for choice in event.get("choices") or ():
                text = (choice.get("delta") or {}).get("content") or ""
                if text:
                    yield ChatDelta(text)
                if choice.get("finish_reason"):
                    finish = _FINISHES.get(choice["finish_reason"], "error")
        if not finish:
            raise AdapterError(
                "llm-broke-off", f"{self._name} stopped in the middle of its answer", retryable=True
            )
        yield ChatDelta("", finish, **usage)

    def _refusal(self, status: int, body: bytes) -> AdapterError:
        retryable = status in {408, 425, 429} or status >= 500
        return AdapterError(
            "llm-refused", f"{self._name} refused ({status}): {_reason(body)}", retryable=retryable
        )

    def _failure(self, exc: httpx.HTTPError) -> AdapterError:
        if isinstance(exc, httpx.ConnectError | httpx.ConnectTimeout):
            return AdapterError(
                "llm-unreachable", f"{self._name} cannot be reached at {self._url}", retryable=True
            )
        if isinstance(exc, httpx.TimeoutException):
            return AdapterError(
                "llm-timeout", f"{self._name} was silent for {self._timeout_s:g} seconds", retryable=True
            )
        return AdapterError("llm-broke-off", f"{self._name} broke the connection", retryable=True)


async def _events(response: httpx.Response) -> AsyncGenerator[Mapping[str, Any], None]:
    """Yield the data of each server-sent event up to `[DONE]`."""
    async with aclosing(response.aiter_lines()) as lines:  # type: ignore[type-var]
        async for line in lines:
            field, _, data = line.partition(":")
            data = data.strip()
            if field == "error":
                yield {"error": data}
            if field != "data":
                continue
            if data == "[DONE]":
                return
            try:
                event = json.loads(data)
            except ValueError as exc:
                raise AdapterError(
                    "llm-broke-off", "the server's stream is not JSON", retryable=True
                ) from exc
            if isinstance(event, dict):
                yield event


def _usage(event: Mapping[str, Any]) -> dict[str, int]:
    """Return the token counts of an event; llama.cpp's `timings` name the cached ones exactly."""
    usage = event.get("usage") or {}
    timings = event.get("timings") or {}
    if not usage and not timings:
        return {}
    details = usage.get("prompt_tokens_details") or {}
    cached = int(timings.get("cache_n", details.get("cached_tokens") or 0))
    return {
        "prompt_tokens": int(usage.get("prompt_tokens", int(timings.get("prompt_n", 0)) + cached)),
        "cached_tokens": cached,
        "completion_tokens": int(usage.get("completion_tokens", timings.get("predicted_n", 0))),
    }


def _reason(body: bytes) -> str:
    """Return a server's own words about an error, shortened."""
    text = body.decode("utf-8", errors="replace")
    try:
        error = json.loads(text).get("error", text)
        text = str(error.get("message", error)) if isinstance(error, dict) else str(error)
    except (ValueError, AttributeError):
        pass
    return " ".join(text.split())[:MAX_REASON_CHARS] or "no reason given"
