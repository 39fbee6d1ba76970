"""Proxies a request to an expert's upstreams, and the response back, with failover.

It owns which server is asked when one fails, and the end of a stream that breaks off. Bytes of a stream are
forwarded as they come, unread; only the end of it is looked at, for the number of tokens.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

from pipecatapp.errors import AdapterError, AgentError, GatewayError
from pipecatapp.gateway.openai_format import error_body, event
from pipecatapp.gateway.request import CompletionRequest
from pipecatapp.gateway.stream_collector import StreamCollector, as_stream
from pipecatapp.gateway.upstreams import Upstream, Upstreams, candidates
from pipecatapp.ports import ConnectionPool, ParseRejection, StreamedResponse

log = logging.getLogger(__name__)

FIRST_PIECE_TIMEOUT_S = 120.0
"""Longest wait for the next piece of a stream (seconds); the front of a house waits 130."""
WHOLE_TIMEOUT_S = 600.0
"""Longest wait for an answer in one piece (seconds): what OpenAI's own clients wait."""
MAX_STREAM_BYTES = 64_000_000
"""Longest stream that is put together to a whole answer (bytes); a token takes some 300 in it, and with the
probabilities of twenty others 3000."""
TAIL_BYTES = 4096
"""How much of a stream's end is kept, for the numbers in it (bytes); llama.cpp's last event is below 1000."""
_GARBLED = "The model produced output that does not match"
"""How llama.cpp says that a model did not keep to the form of an answer (common/chat.cpp,
`common_chat_peg_parse`): neither the request's fault nor the server's."""
_FIELD = re.compile(r"Field '(\w+)': (?:\[json\.exception\.[\w.]+\] )?")
"""How llama.cpp begins what it says of a field (tools/server/server-schema.cpp)."""
_ASK_ANOTHER = {401, 403, 404, 408, 425, 429}
"""Statuses below 500 that concern the server and not the request: another may answer."""


@dataclass(slots=True)
class ProxiedResponse:
    """An answer that has begun.

    Args:
        upstream: Who gives it.
        media_type: Of the body.
        first: Its first piece; all of it when it is no stream.
        response: Where the rest comes from.
    """

    upstream: Upstream
    media_type: str
    first: bytes
    response: StreamedResponse


class _UpstreamRejected(GatewayError):
    """A server cannot take the request; it is well, and another may be able to."""


class UpstreamProxy:
    """Asks experts on behalf of programs.

    Args:
        upstreams: Who there is.
        pool: Connections to their servers; closed with this.
        parse_rejection: Tells a request that a server cannot take from a server that fails.
    """

    def __init__(self, upstreams: Upstreams, pool: ConnectionPool, parse_rejection: ParseRejection) -> None:
        self._upstreams = upstreams
        self._pool = pool
        self._parse_rejection = parse_rejection

    @property
    def upstreams(self) -> Upstreams:
        """Who there is."""
        return self._upstreams

    async def open(
        self, path: str, request: CompletionRequest, body_for: Callable[[Upstream], bytes]
    ) -> ProxiedResponse:
        """Return the answer of the first server that begins one; `release` must follow.

        A server that cannot take the request has not failed. What two of them say alike is the answer, and
        what one says when the others do not answer.

        Args:
            path: Such as `/chat/completions`.
            request: The request.
            body_for: Makes what a server is sent.

        Raises:
            GatewayError: `model_not_found`, or the request is one that a server refused.
            AdapterError: Nobody answers.
        """
        failure: AgentError | None = None
        not_taken: _UpstreamRejected | None = None
        for upstream in candidates(self._upstreams, request.model):
            body = body_for(upstream)
            upstream.observer.on_request()
            try:
                answer = await self._ask(upstream, path, body, is_stream=request.is_stream)
                upstream.observer.on_first_token()
                return answer
            except AdapterError as exc:
                failure = exc
                upstream.observer.on_error()
                upstream.observer.on_done()
                log.warning("An expert does not answer", extra={"endpoint": upstream.name, "code": exc.code})
            except _UpstreamRejected as exc:
                upstream.observer.on_done()
                if not_taken is not None and not_taken.message == exc.message:
                    raise
                not_taken = exc
            except BaseException:
                upstream.observer.on_done()
                raise
        error = not_taken or failure
        assert error is not None
        raise error

    def release(self, answer: ProxiedResponse) -> None:
        """Let go of an answer, whole or not; a server that was still at work stops."""
        answer.response.close()
        answer.upstream.observer.on_done()

    async def iter_bytes(self, answer: ProxiedResponse, usage: Usage) -> AsyncGenerator[bytes, None]:
        """Yield a stream as it comes; one that breaks off ends with an error event. `release` follows.

        Args:
            answer: What has begun.
            usage: Told what came.
        """
        try:
            piece = answer.first
            while piece:
                usage.saw(piece)
                yield piece
                piece = await answer.response.read()
        except AdapterError as exc:
            answer.upstream.observer.on_error()
            log.warning("An answer broke off", extra={"endpoint": answer.upstream.name, "code": exc.code})
            # A line that was cut is ended first, so that the error is an event of its own.
            yield b"\n\n" + event(error_body(exc))
        finally:
            self.release(answer)

    def close(self) -> None:
        """Drop connections that are kept."""
        self._pool.close()

    async def _ask(self, upstream: Upstream, path: str, body: bytes, *, is_stream: bool) -> ProxiedResponse:
        """Return an answer of which at least one piece is here.

        Raises:
            GatewayError: The request itself is refused.
            AdapterError: This server does not answer; another may.
        """
        is_collected = not is_stream and not upstream.model
        response = await self._pool.post(
            upstream.base_url + path,
            as_stream(body) if is_collected else body,
            api_key=upstream.api_key,
            timeout_s=FIRST_PIECE_TIMEOUT_S if is_stream else WHOLE_TIMEOUT_S,
            server_name=upstream.name,
        )
        try:
            status = response.status
            if status != 200:
                raise self._refusal(upstream, status, await response.read_whole())
            media_type = response.headers.get("content-type", "application/json")
            if is_collected and media_type.startswith("text/event-stream"):
                first, media_type = await self._collect(upstream, response), "application/json"
            else:
                first = await (response.read() if is_stream else response.read_whole())
            if not first:
                raise AdapterError("upstream-broke-off", f"{upstream.name} answered nothing.", retryable=True)
        except BaseException:
            response.close()
            raise
        return ProxiedResponse(upstream, media_type, first, response)

    async def _collect(self, upstream: Upstream, response: StreamedResponse) -> bytes:
        """Return a stream as a whole answer.

        Raises:
            GatewayError: The request is refused.
            AdapterError: The stream broke off.
        """
        collector, size = StreamCollector(upstream.name), 0
        while piece := await response.read():
            collector.feed(piece)
            size += len(piece)
            if size > MAX_STREAM_BYTES:
                message = f"{upstream.name} answered more than {MAX_STREAM_BYTES} bytes."
                raise AdapterError("upstream-broke-off", message, retryable=True)
            if collector.error:
                status = collector.error.get("code")
                body = json.dumps({"error": collector.error}).encode()
                raise self._refusal(upstream, status if isinstance(status, int) else 500, body)
        return collector.answer()

    def _refusal(self, upstream: Upstream, status: int, body: bytes) -> AgentError:
        if words := self._parse_rejection(status, body):
            if words.startswith(_GARBLED):
                message = (
                    "The model's answer was not of the form that was asked for; ask again, or another model."
                )
                return _UpstreamRejected("garbled_answer", message, status=500)
            return _UpstreamRejected("invalid_request", words)
        reason, param = _reason(body)
        if status >= 500 or status in _ASK_ANOTHER:
            return AdapterError(
                "upstream-refused", f"{upstream.name} does not answer ({status}).", retryable=True
            )
        return GatewayError(
            "invalid_request", reason or f"The model's server refused ({status}).", param=param
        )


class Usage:
    """How many tokens a request took, told by its answer."""

    def __init__(self) -> None:
        self._tail = b""
        self._events = 0

    def saw(self, piece: bytes) -> None:
        """Note a piece of a stream, or a whole answer."""
        self._events += piece.count(b"data:")
        self._tail = (self._tail + piece)[-TAIL_BYTES:]

    def tokens(self) -> int:
        """Return the tokens of prompt and answer; those of the answer alone when nobody told more."""
        for line in reversed(self._tail.split(b"\n")):
            found = tokens_in(line.removeprefix(b"data:"))
            if found:
                return found
        return self._events


def tokens_in(data: bytes) -> int:
    """Return the tokens that an answer or an event of a stream tells of, or 0."""
    if b'"usage"' not in data and b'"timings"' not in data:
        return 0
    try:
        value = json.loads(data)
        usage, timings = value.get("usage") or {}, value.get("timings") or {}
        counted = usage.get("total_tokens") or sum(
            timings.get(name) or 0 for name in ("prompt_n", "cache_n", "predicted_n")
        )
        return max(0, int(counted))
    except (ValueError, AttributeError, TypeError):
        return 0


def _reason(body: bytes) -> tuple[str, str]:
    """Return a server's own words about an error, and the parameter."""
    try:
        error: Any = json.loads(body).get("error")
        if isinstance(error, dict):
            message, param = str(error.get("message") or ""), str(error.get("param") or "")
            if found := _FIELD.match(message):
                param = param or found[1]
                message = f"{param}: {message[found.end() :]}"
            return message, param
        return str(error or ""), ""
    except (ValueError, AttributeError):
        return "", ""
