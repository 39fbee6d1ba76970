"""A certificate that is rotated under a running server is served without a restart."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from pathlib import Path

import pytest
from fastapi import FastAPI

from pipecatapp.adapters.tls.local_ca import ensure_certificates
from pipecatapp.web import serving
from pipecatapp.web.serving import Listener, Servers, bind

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

RENEWED_S = 20.0


async def served(port: int) -> str:
    return await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))


async def was_changed(port: int, known: str) -> bool:
    for _ in range(200):
        if await served(port) != known:
            return True
        await asyncio.sleep(0.05)
    return False


async def test_a_new_certificate_is_served_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "CERTIFICATE_POLL_S", 0.05)
    files = ensure_certificates(tmp_path, ["localhost"])
    listener = Listener(bind("127.0.0.1", 0, "TWIN_PORT"), files.certificate, files.key)
    servers = Servers(FastAPI(), [listener], logs_requests=False)
    running = asyncio.create_task(servers.run())
    try:
        port = listener.socket.getsockname()[1]
        async with asyncio.timeout(RENEWED_S):
            first = await served(port)
            ensure_certificates(tmp_path, ["localhost", "another.name"])
            assert await was_changed(port, first)
        assert not running.done()
    finally:
        servers.stop()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(running, RENEWED_S)


async def test_pieces_of_an_answer_are_not_held_back() -> None:
    listener = bind("127.0.0.1", 0, "TWIN_PORT")
    accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def connected(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        accepted.set_result(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.transport.abort()

    async with await asyncio.start_server(connected, sock=listener), asyncio.timeout(RENEWED_S):
        _, writer = await asyncio.open_connection(*listener.getsockname())
        assert await accepted, "Nagle's algorithm would hold them back for 40 ms"
        writer.close()
