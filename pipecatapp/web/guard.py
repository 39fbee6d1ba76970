"""Guards in front of every route: size, origin and security headers.

It owns what a browser or a stranger may do over HTTP; the conversation's own limits are the agent's.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipecatapp.web.errors import body_of

MAX_BODY_BYTES = 1_000_000
"""Largest request body; the largest useful one is an SDP of some 10 kB."""

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


class Guard:
    """ASGI middleware.

    A page of another origin may not make the visitor's browser speak to Twin: requests that carry a
    foreign `Origin` are refused, WebSockets too. Programs send no `Origin` and are let through.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass or refuse one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not _same_origin(headers):
            await _refuse(scope, receive, send, 403, "foreign-origin", "This page may not talk to Twin.")
            return
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > MAX_BODY_BYTES:
            message = f"The request is larger than {MAX_BODY_BYTES} bytes."
            await _refuse(scope, receive, send, 413, "too-large", message)
            return

        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES:
                return {"type": "http.disconnect"}
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


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, code: str, message: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": message})
        return
    await JSONResponse(body_of(code, message), status)(scope, receive, send)
