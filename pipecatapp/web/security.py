"""Security middleware in front of every route: size, host name, origin and headers.

It owns what a browser or a stranger may do over HTTP; the conversation's own limits are the agent's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipecatapp.errors import AgentError
from pipecatapp.web.allowed_hosts import is_allowed_host, requested_host
from pipecatapp.web.errors import body_for

MAX_BODY_BYTES = 1_000_000
"""Largest request body; the largest useful one is an SDP of some 10 kB."""
MAX_GATEWAY_BYTES = 8_000_000
"""Largest body below /v1: a picture or two in a prompt."""
MAX_UPLOAD_BYTES = 26_214_400
"""Largest body with a sound file: 25 MiB, as OpenAI has it."""

SECURITY_HEADERS = {
    # The page loads nothing from outside, and says so to the browser.
    "Content-Security-Policy": (
        "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; "
        "media-src 'self' blob: mediastream:; "
        "object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "microphone=(self), camera=(self), geolocation=()",
}
UNKNOWN_NAME = AgentError(
    "unknown-name",
    "No machine of this house is known by the name that you asked for.",
    hint="Use its address or its host name, or add this name to the setting TWIN_HOST_NAMES "
    "(docs/reference/settings.md).",
    status=421,
)
"""Answers who asks by another name; the front says the same (role `ingress`)."""


class SecurityMiddleware:
    """ASGI middleware.

    A page of another origin may not make the visitor's browser speak to Twin: requests that ask by another
    name than ours (`names`), or carry a foreign `Origin`, are refused, WebSockets too. Programs send no
    `Origin` and are let through.

    Args:
        app: What is guarded.
        names: Returns the names and addresses of the house, in small letters.
    """

    def __init__(self, app: ASGIApp, names: Callable[[], Collection[str]]) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass or refuse one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not is_allowed_host(requested_host(headers), self._names()):
            await _refuse(scope, receive, send, UNKNOWN_NAME)
            return
        if not _same_origin(headers):
            foreign = AgentError("foreign-origin", "This page may not talk to Twin.", status=403)
            await _refuse(scope, receive, send, foreign)
            return
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        length = headers.get("content-length", "0")
        limit = _limit_of(scope["path"])
        if not length.isdigit() or int(length) > limit:
            await _refuse(scope, receive, send, _too_large(limit))
            return

        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                # What reads the body ends with it; a caller that told no length is answered all the same.
                raise _too_large(limit)
            return message

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                out = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    out.setdefault(name, value)
            await send(message)

        await self._app(scope, counted, guarded)


def _same_origin(headers: Headers) -> bool:
    origin = headers.get("origin")
    if not origin:
        return True
    return urlsplit(origin).netloc == headers.get("host", "")


def _limit_of(path: str) -> int:
    if not path.startswith("/v1/"):
        return MAX_BODY_BYTES
    return MAX_UPLOAD_BYTES if path.startswith("/v1/audio/transcriptions") else MAX_GATEWAY_BYTES


def _too_large(limit: int) -> AgentError:
    return AgentError("too-large", f"The request is larger than {limit} bytes.", status=413)


async def _refuse(scope: Scope, receive: Receive, send: Send, error: AgentError) -> None:
    if scope["type"] == "websocket":
        await receive()
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1008, "reason": error.message})
            return
    # Of a WebSocket, Starlette makes the answer to its handshake.
    await JSONResponse(body_for(scope["path"], error), error.status)(scope, receive, send)
