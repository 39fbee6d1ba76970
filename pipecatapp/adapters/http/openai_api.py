"""HTTP to an OpenAI-compatible server, and what each failure means.

It owns the connection, the key and the errors; the calls are their adapters' business.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

import httpx

from pipecatapp.adapters.http.errors import HttpFault, map_http_errors
from pipecatapp.adapters.llm.llama_errors import parse_rejection
from pipecatapp.errors import AdapterError
from pipecatapp.sse import SseEvent, SseReader

CONNECT_TIMEOUT_S = 3.0
"""A server on the LAN accepts within milliseconds; more means that its machine is gone (seconds)."""
MAX_REASON_CHARS = 300
"""How much of a server's own words an error carries."""
_BUSY = {408, 425, 429}
"""Statuses that ask to come back (RFC 9110, RFC 8470, RFC 6585)."""


class OpenAiHttp:
    """A connection to one server.

    Args:
        base_url: Ends in /v1.
        api_key: Sent as a bearer token; "" for none.
        server_name: What errors call the server.
        kind: First word of the errors' codes: `KIND-unreachable`, `KIND-timeout`, `KIND-refused`,
            `KIND-broke-off`.
        timeout_s: Longest wait for the next byte (seconds, > 0).
    """

    def __init__(
        self, base_url: str, api_key: str = "", *, server_name: str, kind: str, timeout_s: float = 30.0
    ) -> None:
        self._url = base_url.rstrip("/")
        self._server_name = server_name
        self._kind = kind
        self._timeout_s = timeout_s
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=8),
            trust_env=False,
        )

    def check_open(self) -> None:
        """Refuse use after `close`.

        Raises:
            AdapterError: It is closed.
        """
        if self._client.is_closed:
            raise AdapterError("engine-closed", f"{self._server_name} is closed")

    async def post_json(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the JSON answer to a JSON request.

        Raises:
            AdapterError: As the class says.
        """
        self.check_open()
        with map_http_errors(self._no_answer):
            reply = await self._client.post(self._url + path, json=body)
            return self._json(reply)

    async def post_form(
        self, path: str, form: Mapping[str, str], files: Mapping[str, tuple[str, bytes, str]]
    ) -> dict[str, Any]:
        """Return the JSON answer to a form with files (name, bytes, media type).

        Raises:
            AdapterError: As the class says.
        """
        self.check_open()
        with map_http_errors(self._no_answer):
            reply = await self._client.post(self._url + path, data=dict(form), files=dict(files))
            return self._json(reply)

    async def stream_bytes(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
        """Yield the answer's bytes as they come.

        Raises:
            AdapterError: As the class says.
        """
        async with self._stream(path, body) as reply:
            async for chunk in reply.aiter_bytes():
                yield chunk

    async def stream_events(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the JSON data of each server-sent event, up to `[DONE]`.

        Raises:
            AdapterError: As the class says; also for an error that comes as an event.
        """
        async with self._stream(path, body) as reply:
            async for event in _events(reply):
                if event.name == "error":
                    raise self._failed_later(event.data)
                if event.is_done:
                    return
                value = self._parse(event.data)
                if "error" in value:
                    raise self._failed_later(event.data)
                yield value

    def broke_off(self, what: str = "broke the connection") -> AdapterError:
        """Return the error for an answer without its end."""
        return AdapterError(f"{self._kind}-broke-off", f"{self._server_name} {what}", retryable=True)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    @contextlib.asynccontextmanager
    async def _stream(self, path: str, body: Mapping[str, Any]) -> AsyncIterator[httpx.Response]:
        self.check_open()
        with map_http_errors(self._no_answer):
            async with self._client.stream("POST", self._url + path, json=body) as reply:
                if reply.status_code != httpx.codes.OK:
                    raise self._refusal(reply.status_code, (await reply.aread()).decode(errors="replace"))
                yield reply

    def _no_answer(self, fault: HttpFault, reason: str) -> AdapterError:
        del reason  # it may hold what was asked
        match fault:
            case HttpFault.UNTRUSTED | HttpFault.UNREACHABLE | HttpFault.CONNECT_TIMEOUT:
                message = f"{self._server_name} cannot be reached at {self._url}"
                return AdapterError(f"{self._kind}-unreachable", message, retryable=True)
            case HttpFault.TIMEOUT:
                message = f"{self._server_name} was silent for {self._timeout_s:g} seconds"
                return AdapterError(f"{self._kind}-timeout", message, retryable=True)
            case HttpFault.BROKEN:
                return self.broke_off()

    def _json(self, reply: httpx.Response) -> dict[str, Any]:
        if reply.status_code != httpx.codes.OK:
            raise self._refusal(reply.status_code, reply.text)
        return self._parse(reply.text)

    def _parse(self, text: str) -> dict[str, Any]:
        try:
            value = json.loads(text)
        except ValueError as exc:
            raise self.broke_off("answered what is not JSON") from exc
        if not isinstance(value, dict):
            raise self.broke_off("answered JSON of another shape")
        return value

    def _refusal(self, status: int, body: str) -> AdapterError:
        may_pass = status in _BUSY or (status >= 500 and not parse_rejection(status, body))
        return self._refused(status, body, may_pass=may_pass)

    def _failed_later(self, body: str) -> AdapterError:
        """Return the error for a request that was taken and then failed."""
        return self._refused(httpx.codes.INTERNAL_SERVER_ERROR, body, may_pass=True)

    def _refused(self, status: int, body: str, *, may_pass: bool) -> AdapterError:
        message = f"{self._server_name} refused ({status}): {_reason(body)}"
        return AdapterError(f"{self._kind}-refused", message, retryable=may_pass)


async def _events(reply: httpx.Response) -> AsyncIterator[SseEvent]:
    reader = SseReader()
    async for piece in reply.aiter_bytes():
        for event in reader.feed(piece):
            yield event
    for event in reader.end():
        yield event


def _reason(body: str) -> str:
    """Return a server's own words about an error, shortened."""
    text = body
    with contextlib.suppress(ValueError, AttributeError):
        error = json.loads(body).get("error", body)
        text = str(error.get("message", error)) if isinstance(error, dict) else str(error)
    return " ".join(text.split())[:MAX_REASON_CHARS] or "no reason given"
