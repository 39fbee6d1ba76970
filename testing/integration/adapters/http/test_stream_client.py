"""Answers of models' servers, however they are cut into pieces on their way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from pipecatapp.adapters.http.stream_client import (
    MAX_HEAD_BYTES,
    MOST_KEPT_BYTES,
    HttpConnectionPool,
    HttpResponse,
)
from pipecatapp.errors import AdapterError

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n"
BODY = b"5;note=1\r\nhello\r\n1\r\n,\r\n6\r\n\r\nyou \r\n0\r\nX-Trailer: 1\r\n\r\n"
Write = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def answered(
    write: Write, timeout_s: float = 20.0
) -> AsyncIterator[tuple[HttpConnectionPool, HttpResponse]]:
    """Serve what `write` writes to each request of a connection, and ask for it."""
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"{}"):
                await write(writer)
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            ended.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    pool = HttpConnectionPool()
    port = server.sockets[0].getsockname()[1]
    try:
        url = f"http://127.0.0.1:{port}/v1"
        response = await pool.post(url, b"{}", timeout_s=timeout_s, server_name="it")
        try:
            yield pool, response
        finally:
            response.close()
    finally:
        pool.close()
        await ended.wait()
        server.close()
        await server.wait_closed()


def in_pieces(data: bytes, size: int, *, closes: bool = False) -> Write:
    async def write(writer: asyncio.StreamWriter) -> None:
        for start in range(0, len(data), size):
            writer.write(data[start : start + size])
            await writer.drain()
            await asyncio.sleep(0.0005)
        if closes:
            writer.close()

    return write


async def all_of(response: HttpResponse) -> bytes:
    found = b""
    while piece := await response.read():
        found += piece
    assert await response.read() == b""
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_a_chunked_body_is_whole_wherever_it_is_cut(size: int) -> None:
    async with answered(in_pieces(CHUNKED + BODY, size)) as (_, response):
        assert (response.status, response.headers["x-a"]) == (200, "b")
        assert await all_of(response) == b"hello,\r\nyou "


@pytest.mark.parametrize("size", [1, 4, 1000])
async def test_a_body_has_the_length_that_it_says(size: int) -> None:
    data = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    async with answered(in_pieces(data, size)) as (_, response):
        assert await all_of(response) == b"hello"


async def test_a_body_without_a_length_ends_with_the_connection() -> None:
    async with answered(in_pieces(b"HTTP/1.1 200 OK\r\n\r\nhello", 3, closes=True)) as (_, response):
        assert await all_of(response) == b"hello"


@pytest.mark.parametrize("data", [CHUNKED + BODY, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"])
async def test_a_connection_whose_answer_is_whole_is_used_again(data: bytes) -> None:
    peers = set[str]()

    async def write(writer: asyncio.StreamWriter) -> None:
        peers.add(str(writer.get_extra_info("peername")))
        writer.write(data)

    async with answered(write) as (pool, response):
        for _ in range(3):
            whole = await all_of(response)
            response.close()
            url = f"http://{response._address[1]}/v1"
            response = await pool.post(url, b"{}", timeout_s=20, server_name="it")
            assert whole
        response.close()  # in mid-answer, so that it is not kept
    assert len(peers) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"5\r\nhel",
        b"5\r\nhello",
        b"5\r\nhello\r\n",
        b"5\r\nhello\r\n0\r\n",
        b"5\r\nhello!!1\r\nx\r\n0\r\n\r\n",
        b"5\r\nhello\r\nzz\r\n",
        b"5\r\nhello\r\n-1\r\n",
        b"5\r\nhello\r\n" + b"1" * (MAX_HEAD_BYTES + 1),
    ],
)
async def test_what_came_before_a_fault_is_handed_on_and_then_the_fault_is_told(body: bytes) -> None:
    async with answered(in_pieces(CHUNKED + body, len(body) + len(CHUNKED), closes=True)) as (_, response):
        found = b""
        with pytest.raises(AdapterError) as caught:
            while piece := await response.read():
                found += piece
    assert b"hello".startswith(found) and len(found) >= 3
    assert (caught.value.code, caught.value.message) == ("upstream-broke-off", "it broke the connection.")


async def test_silence_is_told_as_silence() -> None:
    async with answered(in_pieces(CHUNKED + b"5\r\nhello\r\n", 1000), timeout_s=0.2) as (_, response):
        assert await response.read() == b"hello"
        with pytest.raises(AdapterError, match="it was silent for 0.2 seconds") as caught:
            await response.read()
    assert caught.value.code == "upstream-timeout"


async def test_a_server_waits_for_a_caller_who_is_slow() -> None:
    size = 64 * MOST_KEPT_BYTES

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(64):
            writer.write(b"x" * MOST_KEPT_BYTES)
            await writer.drain()

    async with answered(write) as (_, response):
        await asyncio.sleep(0.2)
        assert len(response._connection.incoming) <= 4 * MOST_KEPT_BYTES
        assert len(await all_of(response)) == size
