"""A model's server that does exactly what it is told, byte by byte.

It owns a loopback port and a record of what it was asked; its answers are written out by the test.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CUT = b""
"""Instead of a piece: drop the connection."""


def event(text: str, finish: str | None = None) -> bytes:
    """Return a piece of a streamed answer."""
    value = {"id": "x", "model": "m", "choices": [{"delta": {"content": text}, "finish_reason": finish}]}
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def chunk(data: bytes) -> bytes:
    """Return data as a chunk of HTTP."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def whole(value: Any, status: int = 200) -> list[bytes]:
    """Return a JSON answer."""
    body = json.dumps(value).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return [head.encode() + body]


def stream(*events: bytes) -> list[bytes]:
    """Return a streamed answer, whole to its end."""
    return [OK, *(chunk(one) for one in events), chunk(b"data: [DONE]\n\n"), b"0\r\n\r\n"]


@dataclass
class RawUpstream:
    """What is answered, and what was asked.

    Args:
        answer: What is written; `CUT` drops the connection.
        pause_s: Time between two of its parts (seconds).
    """

    answer: Sequence[bytes]
    pause_s: float = 0.0
    url: str = ""
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    connections: int = 0
    dropped: int = 0
    """Answers that the other side did not wait for."""


@asynccontextmanager
async def serving(upstream: RawUpstream) -> AsyncIterator[RawUpstream]:
    """Serve on a free loopback port."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        upstream.connections += 1
        try:
            while await _answered(upstream, reader, writer):
                pass
        except (EOFError, ConnectionError):
            pass
        finally:
            tasks.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    upstream.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield upstream
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _answered(
    upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    upstream.requests.append((lines[0].split()[1], headers, body))
    leaving = asyncio.create_task(reader.read(1))
    try:
        for part in upstream.answer:
            if part == CUT:
                return False
            writer.write(part)
            done, _ = await asyncio.wait({leaving}, timeout=upstream.pause_s)
            if done:
                upstream.dropped += 1
                return False
    finally:
        if not leaving.done():
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
    return True
