"""The gateway's interface, `/v1`: OpenAI's calls, its errors, its headers.

It owns what a request must have before it is answered, and the translation between HTTP and the gateway.
It stands before FastAPI: what is on the way of a stream costs time (docs/gateway.md has the numbers).
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from pipecatapp.errors import AgentError, GatewayError
from pipecatapp.gateway.embeddings import embeddings
from pipecatapp.gateway.multipart import parse_multipart
from pipecatapp.gateway.openai_format import error_body
from pipecatapp.gateway.proxy import Usage, tokens_in
from pipecatapp.gateway.request import CompletionRequest, parse_json_object, parse_request
from pipecatapp.gateway.service import Gateway
from pipecatapp.gateway.tool_emulation import EmulatedToolRequest, emulate_tools, uses_tools
from pipecatapp.gateway.tool_response import streamed_answer, whole_answer
from pipecatapp.ports import ApiKey
from pipecatapp.web.client_address import is_local

log = logging.getLogger(__name__)

PREFIX = "/v1"
MAX_AT_ONCE = 256
"""Requests under way in this process; the next one is told to come back."""
BUSY_RETRY_S = 2.0
"""When one that came at a bad time is told to come back (seconds)."""


@dataclass(slots=True, kw_only=True)
class _ApiRequest:
    """A request that was let in.

    Args:
        path: Below `/v1`.
        key: Whose it is; None for a program on this machine.
        headers: As they came.
        body: All of it.
        send: Answers.
        extra: Headers of the answer that tell what is left to the key.
        has_begun: The answer's head is sent.
    """

    path: str
    key: ApiKey | None
    headers: Headers
    body: bytes
    send: Send
    extra: Mapping[str, str]
    has_begun: bool = False

    async def begin(self, status: int, media_type: str) -> None:
        """Send an answer's head."""
        pairs = {"content-type": media_type, "cache-control": "no-store", **self.extra}
        headers = [(name.encode(), value.encode("latin-1")) for name, value in pairs.items()]
        self.has_begun = True
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def more(self, piece: bytes) -> None:
        """Send a piece of it."""
        await self.send({"type": "http.response.body", "body": piece, "more_body": True})

    async def end(self, piece: bytes = b"") -> None:
        """Send its end."""
        await self.send({"type": "http.response.body", "body": piece})

    async def whole(self, status: int, media_type: str, body: bytes) -> None:
        """Send an answer in one piece."""
        self.extra = {**self.extra, "content-length": str(len(body))}
        await self.begin(status, media_type)
        await self.end(body)

    async def json(self, value: Any, status: int = 200) -> None:
        """Send a JSON answer."""
        await self.whole(status, "application/json", json.dumps(value, ensure_ascii=False).encode())

    async def stream(self, media_type: str, pieces: AsyncGenerator[bytes, None]) -> None:
        """Send an answer as it is made."""
        async with aclosing(pieces):
            # What fails before the first piece is still an error of its own.
            first = await anext(pieces, b"")
            await self.begin(200, media_type)
            await self.more(first)
            async for piece in pieces:
                await self.more(piece)
            await self.end()


_Handler = Callable[[_ApiRequest], Awaitable[None]]


class V1:
    """ASGI middleware that answers all below `/v1`, and hands on the rest.

    Args:
        app: Answers the rest.
        gateway: Whose interface this is.
    """

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self._app = app
        self._gateway = gateway
        self._under_way = 0
        self._routes: dict[str, tuple[str, _Handler]] = {
            "/chat/completions": ("POST", self._chat),
            "/completions": ("POST", self._completions),
            "/embeddings": ("POST", self._embeddings),
            "/audio/transcriptions": ("POST", self._transcribe),
            "/audio/speech": ("POST", self._speak),
            "/models": ("GET", self._models),
        }

    @property
    def methods(self) -> dict[str, str]:
        """The method of each path."""
        calls = {PREFIX + path: method for path, (method, _) in self._routes.items()}
        return {**calls, f"{PREFIX}/models/{{name}}": "GET"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or not scope["path"].startswith(f"{PREFIX}/"):
            await self._app(scope, receive, send)
            return
        path = scope["path"].removeprefix(PREFIX).rstrip("/")
        api_request = _ApiRequest(
            path=path, key=None, headers=Headers(scope=scope), body=b"", send=send, extra={}
        )
        try:
            handler = self._handler(scope["method"], path)
            api_request.key = self._gateway.authenticate(
                api_request.headers.get("authorization", ""), is_local=is_local(scope)
            )
            self._gateway.limiter.acquire_request(api_request.key)
            api_request.extra = self._gateway.limiter.headers(api_request.key)
            if self._under_way >= MAX_AT_ONCE:
                raise GatewayError(
                    "busy", "Too many requests at once.", status=503, retry_after_s=BUSY_RETRY_S
                )
            self._under_way += 1
            try:
                body = await _read(receive)
                if body is not None:
                    api_request.body = body
                    await _while_there(handler(api_request), receive)
            finally:
                self._under_way -= 1
        except AgentError as exc:
            if api_request.has_begun:
                # Nothing can be said any more: the answer is left without its end, and the caller sees that.
                log.warning("An answer broke off", extra={"path": path, "code": exc.code})
                return
            await _refuse(api_request, exc)

    def _handler(self, method: str, path: str) -> _Handler:
        """Return who answers.

        Raises:
            GatewayError: Nobody; the message lists the calls that there are.
        """
        wanted, handler = self._routes.get(path, ("", None))
        if handler is None and path.startswith("/models/"):
            wanted, handler = "GET", self._model
        if handler is None:
            known = ", ".join(PREFIX + name for name in sorted(self._routes))
            raise GatewayError("unknown_url", f"There is no {PREFIX}{path}; known: {known}", status=404)
        if method != wanted:
            raise GatewayError("method_not_allowed", f"{PREFIX}{path} takes {wanted}.", status=405)
        return handler

    async def _models(self, api_request: _ApiRequest) -> None:
        names = self._gateway.proxy.upstreams.experts()
        await api_request.json({"object": "list", "data": [_model(name) for name in names]})

    async def _model(self, api_request: _ApiRequest) -> None:
        name = api_request.path.removeprefix("/models/")
        if name not in (known := self._gateway.proxy.upstreams.experts()):
            message = f"There is no expert {name!r} now; valid: {', '.join(known) or 'none'}"
            raise GatewayError("model_not_found", message, param="model", status=404)
        await api_request.json(_model(name))

    async def _chat(self, api_request: _ApiRequest) -> None:
        request = parse_request(api_request.body, "messages")
        has_tools = uses_tools(request.fields)
        await self._pass_on(
            api_request, request, emulate_tools(request, self._gateway.tool_prompts) if has_tools else None
        )

    async def _completions(self, api_request: _ApiRequest) -> None:
        request = parse_request(api_request.body, "prompt")
        await self._pass_on(api_request, request)

    async def _pass_on(
        self,
        api_request: _ApiRequest,
        request: CompletionRequest,
        emulated: EmulatedToolRequest | None = None,
    ) -> None:
        """Hand the request to an expert and its answer back, byte for byte unless tool calls are emulated."""
        proxy, limiter = self._gateway.proxy, self._gateway.limiter
        answer = await proxy.open(
            api_request.path, request, emulated.body_for if emulated else request.body_for
        )
        if answer.upstream.calls_tools:
            emulated = None
        if not request.is_stream:
            proxy.release(answer)
            limiter.charge_tokens(api_request.key, tokens_in(answer.first))
            if emulated is not None:
                await api_request.json(whole_answer(emulated, answer.first))
            else:
                await api_request.whole(200, answer.media_type, answer.first)
            return
        usage = Usage()
        pieces = proxy.iter_bytes(answer, usage)
        try:
            await api_request.stream(
                answer.media_type, streamed_answer(emulated, pieces) if emulated else pieces
            )
        finally:
            limiter.charge_tokens(api_request.key, usage.tokens())

    async def _embeddings(self, api_request: _ApiRequest) -> None:
        value = await embeddings(self._gateway.embedder, parse_json_object(api_request.body))
        self._gateway.limiter.charge_tokens(api_request.key, value["usage"]["total_tokens"])
        await api_request.json(value)

    async def _transcribe(self, api_request: _ApiRequest) -> None:
        form = parse_multipart(api_request.headers.get("content-type", ""), api_request.body)
        wanted, told = await self._gateway.transcriber.transcribe(form)
        if wanted == "text":
            await api_request.whole(200, "text/plain; charset=utf-8", told.encode())
        else:
            await api_request.json(told)

    async def _speak(self, api_request: _ApiRequest) -> None:
        synthesizer = self._gateway.synthesizer
        speech = synthesizer.parse(parse_json_object(api_request.body))
        await api_request.stream(speech.media_type, synthesizer.speak(speech))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "twin"}


async def _refuse(api_request: _ApiRequest, error: AgentError) -> None:
    after_s = error.retry_after_s if isinstance(error, GatewayError) else 0.0
    if error.status == 503:
        after_s = after_s or BUSY_RETRY_S
    if after_s:
        api_request.extra = {**api_request.extra, "retry-after": str(math.ceil(after_s))}
    if error.status == 401:
        api_request.extra = {**api_request.extra, "www-authenticate": "Bearer"}
    await api_request.json(error_body(error), error.status)


async def _read(receive: Receive) -> bytes | None:
    """Return the body, whose size the guard bounds; None when the caller left."""
    pieces = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        pieces.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(pieces)


async def _while_there(work: Awaitable[None], receive: Receive) -> None:
    """Await `work`, and cancel it when the caller leaves: that drops its connections, and a model stops."""
    here = asyncio.current_task()
    assert here is not None
    leaving = asyncio.create_task(_cancel_when_left(receive, here), name="v1-caller")
    try:
        await work
    except asyncio.CancelledError:
        # Like asyncio.timeout: only what was cancelled for this reason ends here.
        if not leaving.done() or here.uncancel() > 0:
            raise
        log.debug("A caller left")
    finally:
        leaving.cancel()


async def _cancel_when_left(receive: Receive, work: asyncio.Task[Any]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    work.cancel()
