"""Requests to models' servers over HTTP/1.1, their answers as raw bytes.

It owns connections and framing; what is asked and what an answer means is the gateway's. It stands on the way
of every stream, where httpx alone would take more time than the gateway may (docs/gateway.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Iterator, Mapping
from urllib.parse import SplitResult, urlsplit

from pipecatapp.errors import AdapterError

CONNECT_TIMEOUT_S = 3.0
"""A server on the LAN accepts within milliseconds; more means that its machine is gone (seconds)."""
READ_BYTES = 65_536
"""Most that is taken in one go (bytes); also the longest head of an answer."""
MAX_WHOLE_BYTES = 16_000_000
"""Longest answer that is read as a whole (bytes); one of 100 000 tokens takes less than a megabyte."""
KEPT_S = 4.0
"""How long a connection is kept for the next request (seconds); llama.cpp's server closes it after five."""
MAX_KEPT = 8
"""Connections kept to one server; each holds a thread of it."""


class Exchange:
    """An answer that is coming in.

    Args:
        servers: Takes the connection back when the answer is whole.
        address: Of the server.
        reader: The incoming half of the connection.
        writer: The outgoing half.
        who: What errors call the server.
    """

    def __init__(
        self,
        servers: HttpServers,
        address: tuple[str, str],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        who: str,
    ) -> None:
        self._servers = servers
        self._address = address
        self._reader = reader
        self._writer = writer
        self._who = who
        self._timeout_s = 0.0
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self._left = -1
        """Bytes to the end of the body or, when it is chunked, of the chunk; -1: until the server closes."""
        self._is_chunked = False
        self._is_over = False
        self._is_closed = False

    async def read(self) -> bytes:
        """Return the next piece of the body, b"" at its end.

        Raises:
            AdapterError: `upstream-timeout` or `upstream-broke-off`.
        """
        if self._is_over:
            return b""
        with _failures(self._who, self._timeout_s):
            async with asyncio.timeout(self._timeout_s):
                piece = await (self._read_chunks() if self._is_chunked else self._read_plain())
        self._is_over = not piece
        return piece

    async def read_whole(self) -> bytes:
        """Return the whole body.

        Raises:
            AdapterError: As for `read`; also when it is longer than `MAX_WHOLE_BYTES`.
        """
        pieces, size = [], 0
        while piece := await self.read():
            pieces.append(piece)
            size += len(piece)
            if size > MAX_WHOLE_BYTES:
                raise _broke_off(self._who, f"answered more than {MAX_WHOLE_BYTES} bytes")
        return b"".join(pieces)

    def close(self) -> None:
        """Let go of the answer; one that is not whole is given up, which makes the server stop its work."""
        if self._is_closed:
            return
        self._is_closed = True
        is_reusable = self._is_over and self.headers.get("connection", "").lower() != "close"
        if is_reusable and (self._is_chunked or "content-length" in self.headers):
            self._servers.keep(self._address, self._reader, self._writer)
        else:
            self._writer.transport.abort()

    async def ask(self, request: bytes, timeout_s: float) -> None:
        """Send `request` and read the answer's head.

        Raises:
            AdapterError: As for `read`; the exchange is closed then.
        """
        self._timeout_s = timeout_s
        try:
            self._writer.write(request)
            with _failures(self._who, timeout_s):
                async with asyncio.timeout(timeout_s):
                    # 100 Continue and its like come before the answer (RFC 9110, section 15.2).
                    while self.status < 200:
                        self._take_head((await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1"))
        except BaseException:
            self.close()
            raise

    def _take_head(self, head: str) -> None:
        first, *lines = head.split("\r\n")
        self.status = int(first.split(" ", 2)[1])
        pairs = (line.partition(":") for line in lines if line)
        self.headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        self._is_chunked = "chunked" in self.headers.get("transfer-encoding", "").lower()
        if self._is_chunked or self.status in (204, 304):
            self._left = 0
        else:
            self._left = int(self.headers.get("content-length", -1))

    async def _read_plain(self) -> bytes:
        if self._left == 0:
            return b""
        piece = await self._reader.read(READ_BYTES if self._left < 0 else min(READ_BYTES, self._left))
        if self._left > 0:
            if not piece:
                raise EOFError
            self._left -= len(piece)
        return piece

    async def _read_chunks(self) -> bytes:
        if self._left == 0:
            size = await self._reader.readuntil(b"\r\n")
            self._left = int(size.split(b";", 1)[0], 16)
            if self._left == 0:
                # Trailers, which none of these servers sends, end with an empty line (RFC 9112, section 7.1).
                while await self._reader.readuntil(b"\r\n") != b"\r\n":
                    pass
                return b""
        piece = await self._reader.read(min(READ_BYTES, self._left))
        if not piece:
            raise EOFError
        self._left -= len(piece)
        if self._left == 0 and await self._reader.readexactly(2) != b"\r\n":
            raise ValueError("a chunk that does not end")
        return piece


class HttpServers:
    """Connections to models' servers; those whose answer is whole are kept a while for the next request."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]]] = {}

    async def post(self, url: str, body: bytes, *, api_key: str = "", timeout_s: float, who: str) -> Exchange:
        """Send `body` to `url` and return the answer, its head read; `Exchange.close` must follow.

        Args:
            url: Absolute, http or https.
            body: JSON.
            api_key: Sent as a bearer token; "" for none.
            timeout_s: Longest wait for the next byte (seconds, > 0).
            who: What errors call the server.

        Raises:
            AdapterError: `upstream-unreachable`, `upstream-timeout` or `upstream-broke-off`; all retryable.
        """
        parts = urlsplit(url)
        address = (parts.scheme, parts.netloc)
        authorization = f"Authorization: Bearer {api_key}\r\n" if api_key else ""
        head = (
            f"POST {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\n{authorization}"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        request = head.encode("latin-1") + body
        kept = self._take(address)
        if kept is not None:
            exchange = Exchange(self, address, *kept, who)
            try:
                await exchange.ask(request, timeout_s)
                return exchange
            except AdapterError as exc:
                # A server may close a connection just when it is used again (RFC 9112, section 9.3.1).
                if exc.code != "upstream-broke-off":
                    raise
        reader, writer = await _connect(parts, who)
        exchange = Exchange(self, address, reader, writer, who)
        await exchange.ask(request, timeout_s)
        return exchange

    def keep(
        self, address: tuple[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Keep a connection whose answer is whole, and drop those that were kept too long."""
        now_s = time.monotonic()
        for known, connections in list(self._kept.items()):
            fresh = [kept for kept in connections if now_s - kept[0] < KEPT_S]
            for kept in connections:
                if kept not in fresh:
                    kept[2].transport.abort()
            if fresh:
                self._kept[known] = fresh
            else:
                del self._kept[known]
        mine = self._kept.setdefault(address, [])
        if len(mine) < MAX_KEPT:
            mine.append((now_s, reader, writer))
        else:
            writer.transport.abort()

    def close(self) -> None:
        """Drop what is kept."""
        for connections in self._kept.values():
            for _, _, writer in connections:
                writer.transport.abort()
        self._kept.clear()

    def _take(self, address: tuple[str, str]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """Return a kept connection that is still good, the newest first."""
        connections = self._kept.get(address, [])
        while connections:
            kept_s, reader, writer = connections.pop()
            is_good = not reader.at_eof() and reader.exception() is None and not writer.is_closing()
            if is_good and time.monotonic() - kept_s < KEPT_S:
                return reader, writer
            writer.transport.abort()
        return None


async def _connect(parts: SplitResult, who: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    is_https = parts.scheme == "https"
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            return await asyncio.open_connection(
                parts.hostname,
                parts.port or (443 if is_https else 80),
                ssl=ssl.create_default_context() if is_https else None,
                limit=READ_BYTES,
            )
    except (OSError, TimeoutError, ValueError) as exc:
        raise AdapterError("upstream-unreachable", f"{who} cannot be reached.", retryable=True) from exc


@contextlib.contextmanager
def _failures(who: str, timeout_s: float) -> Iterator[None]:
    try:
        yield
    except TimeoutError as exc:
        message = f"{who} was silent for {timeout_s:g} seconds."
        raise AdapterError("upstream-timeout", message, retryable=True) from exc
    except (OSError, EOFError, ValueError, IndexError, asyncio.LimitOverrunError) as exc:
        raise _broke_off(who, "broke the connection") from exc


def _broke_off(who: str, what: str) -> AdapterError:
    return AdapterError("upstream-broke-off", f"{who} {what}.", retryable=True)
