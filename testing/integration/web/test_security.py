"""What stands before every route, over real sockets: by which name the caller asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket

from pipecatapp.web.security import SecurityMiddleware
from pipecatapp.web.serving import Listener, Servers, bind

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

KEY = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
UPGRADE = f"Connection: Upgrade\r\nUpgrade: websocket\r\n{KEY}"
REBOUND = "Host: evil.example:8000\r\nOrigin: http://evil.example:8000\r\n"


@pytest.fixture
async def port() -> AsyncIterator[int]:
    app = FastAPI()
    app.add_middleware(SecurityMiddleware, names=lambda: {"mypc.fritz.box"})

    @app.api_route("/api/memory", methods=["GET", "DELETE"])
    def memory() -> list[str]:
        return ["a secret"]

    @app.websocket("/ws")
    async def socket(connection: WebSocket) -> None:
        await connection.accept()
        await connection.send_text("a secret")

    listener = Listener(bind("127.0.0.1", 0, "TWIN_PORT"))
    servers = Servers(app, [listener], logs_requests=False)
    running = asyncio.create_task(servers.run())
    yield listener.socket.getsockname()[1]
    servers.stop()
    await running


async def ask(port: int, head: str, headers: str) -> tuple[int, bytes]:
    """Send a request as it is written; return the status and what follows the head."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"{head}\r\n{headers}\r\n".encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        body = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                wanted = b"a secret" if b" 101 " in answer or b" 200 " in answer else b"}}"
                while wanted not in body and (piece := await reader.read(1000)):
                    body += piece
        return int(answer.split()[1]), body
    finally:
        writer.close()


def error_of(body: bytes) -> dict[str, Any]:
    error: dict[str, Any] = json.loads(body)["error"]
    assert set(error) == {"code", "message", "hint"}
    return error


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "MYPC.fritz.box.", "192.168.178.20", "[fd00::5]"])
async def test_by_our_names_everything_is_reached(port: int, name: str) -> None:
    own = f"Host: {name}:{port}\r\nOrigin: http://{name}:{port}\r\n"
    assert await ask(port, "GET /api/memory HTTP/1.1", own) == (200, b'["a secret"]')
    status, _ = await ask(port, "GET /ws HTTP/1.1", own + UPGRADE)
    assert status == 101


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_rebound_name_reads_and_deletes_nothing(port: int, method: str) -> None:
    status, body = await ask(port, f"{method} /api/memory HTTP/1.1", REBOUND)
    assert status == 421
    assert error_of(body)["code"] == "unknown-name"
    assert "TWIN_HOST_NAMES" in error_of(body)["hint"]


async def test_a_rebound_name_gets_no_event_stream(port: int) -> None:
    status, body = await ask(port, "GET /ws HTTP/1.1", REBOUND + UPGRADE)
    assert (status, error_of(body)["code"]) == (421, "unknown-name")


async def test_a_foreign_page_gets_no_event_stream(port: int) -> None:
    foreign = f"Host: localhost:{port}\r\nOrigin: http://evil.example\r\n"
    status, body = await ask(port, "GET /ws HTTP/1.1", foreign + UPGRADE)
    assert (status, error_of(body)["code"]) == (403, "foreign-origin")


@pytest.mark.parametrize("path", ["/api/memory", "/ws"])
async def test_who_names_nobody_is_not_served(port: int, path: str) -> None:
    status, body = await ask(port, f"GET {path} HTTP/1.0", "")
    assert (status, error_of(body)["code"]) == (421, "unknown-name")


async def test_two_names_are_none(port: int) -> None:
    status, _ = await ask(port, "GET /api/memory HTTP/1.1", f"Host: localhost:{port}\r\n{REBOUND}")
    assert status in (400, 421)
