"""An HTTP/1.1 client for models' servers, with a connection pool and raw streaming.

It owns connections and framing; what is asked and what an answer means is the gateway's. It stands on the way
of every stream, where httpx alone would take more time than the gateway may (docs/gateway.md).
"""

from __future__ import annotations

import asyncio
import functools
import ssl
import time
from collections.abc import Mapping
from typing import cast
from urllib.parse import SplitResult, urlsplit

from pipecatapp.errors import AdapterError

CONNECT_TIMEOUT_S = 3.0
"""A server on the LAN accepts within milliseconds; more means that its machine is gone (seconds)."""
MAX_HEAD_BYTES = 65_536
"""Longest head of an answer, and line between two chunks (bytes)."""
MOST_KEPT_BYTES = 131_072
"""How much may have come and not be taken before the server has to wait (bytes)."""
MAX_WHOLE_BYTES = 16_000_000
"""Longest answer that is read as a whole (bytes); one of 100 000 tokens takes less than a megabyte."""
KEPT_S = 4.0
"""How long a connection is kept for the next request (seconds); llama.cpp's server closes it after five."""
MAX_KEPT = 8
"""Connections kept to one server; each holds a thread of it."""


class Connection(asyncio.Protocol):
    """A connection to a server, and what came over it and was not taken yet.

    It is a protocol and no stream: a stream's reader costs more time for each piece than all else on its way.
    """

    def __init__(self) -> None:
        self.incoming = bytearray()
        self.is_over = False
        """The server has closed it, or it broke."""
        self.failure: Exception | None = None
        """Why it broke; None when the server closed it."""
        self._waiter: asyncio.Future[None] | None = None
        self._is_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Keep what came until it is taken; the server waits while that is much."""
        self.incoming += data
        if len(self.incoming) > MOST_KEPT_BYTES and not self._is_paused:
            self._is_paused = True
            self.transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self.is_over, self.failure = True, exc
        self._wake()

    async def wait(self, timeout_s: float) -> None:
        """Wait until more has come.

        Raises:
            TimeoutError: Nothing came.
            OSError: It broke.
            EOFError: The server has closed it.
        """
        if self.is_over:
            raise self.failure or EOFError
        if self._is_paused:
            self._is_paused = False
            self.transport.resume_reading()
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        timer = loop.call_later(timeout_s, self._time_out, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @staticmethod
    def _time_out(waiter: asyncio.Future[None]) -> None:
        if not waiter.done():
            waiter.set_exception(TimeoutError())


class HttpResponse:
    """An answer that is coming in.

    Args:
        servers: Takes the connection back when the answer is whole.
        address: Of the server.
        connection: To it.
        server_name: What errors call the server.
    """

    def __init__(
        self, pool: HttpConnectionPool, address: tuple[str, str], connection: Connection, server_name: str
    ) -> None:
        self._pool = pool
        self._address = address
        self._connection = connection
        self._server_name = server_name
        self._timeout_s = 0.0
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self._left = -1
        """Bytes to the end of the body or, when it is chunked, of the chunk and its line's end; -1: until the
        server closes."""
        self._is_chunked = False
        self._is_last_chunk = False
        self._is_over = False
        self._is_closed = False

    async def read(self) -> bytes:
        """Return the next piece of the body, all of it that is here; b"" at its end.

        Raises:
            AdapterError: `upstream-timeout` or `upstream-broke-off`.
        """
        if self._is_over:
            return b""
        take = self._take_chunks if self._is_chunked else self._take_plain
        try:
            while (piece := take()) is None:
                await self._connection.wait(self._timeout_s)
        except (OSError, EOFError, ValueError) as exc:
            raise self._failed(exc) from exc
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
                raise _broke_off(self._server_name, f"answered more than {MAX_WHOLE_BYTES} bytes")
        return b"".join(pieces)

    def close(self) -> None:
        """Let go of the answer; one that is not whole is given up, which makes the server stop its work."""
        if self._is_closed:
            return
        self._is_closed = True
        is_reusable = self._is_over and self.headers.get("connection", "").lower() != "close"
        if is_reusable and (self._is_chunked or "content-length" in self.headers):
            self._pool.keep(self._address, self._connection)
        else:
            self._connection.transport.abort()

    async def send(self, request: bytes, timeout_s: float) -> None:
        """Send `request` and read the answer's head.

        Raises:
            AdapterError: As for `read`; the exchange is closed then.
        """
        self._timeout_s = timeout_s
        try:
            self._connection.transport.write(request)
            # 100 Continue and its like come before the answer (RFC 9110, section 15.2).
            while self.status < 200:
                self._take_head(await self._head())
        except (OSError, EOFError, ValueError, IndexError) as exc:
            self.close()
            raise self._failed(exc) from exc
        except BaseException:
            self.close()
            raise

    async def _head(self) -> str:
        incoming = self._connection.incoming
        while (end := incoming.find(b"\r\n\r\n")) < 0:
            if len(incoming) > MAX_HEAD_BYTES:
                raise ValueError("a head that does not end")
            await self._connection.wait(self._timeout_s)
        head = incoming[:end].decode("latin-1")
        del incoming[: end + 4]
        return head

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

    def _take_plain(self) -> bytes | None:
        """Return what is here of a body; None when more must come."""
        connection = self._connection
        if self._left == 0:
            return b""
        if not connection.incoming:
            is_whole = self._left < 0 and connection.is_over and connection.failure is None
            return b"" if is_whole else None
        piece = bytes(connection.incoming if self._left < 0 else connection.incoming[: self._left])
        del connection.incoming[: len(piece)]
        self._left -= len(piece) if self._left > 0 else 0
        return piece

    def _take_chunks(self) -> bytes | None:
        """Return what is here of a chunked body (RFC 9112, section 7.1); None when more must come."""
        incoming, position, pieces = self._connection.incoming, 0, []
        try:
            while not self._is_last_chunk:
                if self._left > 2:
                    piece = incoming[position : position + self._left - 2]
                    pieces.append(piece)
                    position += len(piece)
                    self._left -= len(piece)
                end = incoming.find(b"\r\n", position)
                if self._left > 2 or end < 0:
                    break
                if self._left:
                    if end != position:
                        raise ValueError("a chunk that does not end")
                    self._left = 0
                    position += 2
                    continue
                size = int(incoming[position:end].split(b";", 1)[0], 16)
                if size < 0:
                    raise ValueError("a chunk of a size below nothing")
                self._is_last_chunk, self._left = size == 0, size + 2
                position = end + 2
            # Trailers, which none of these servers sends, end with an empty line.
            while self._is_last_chunk and (end := incoming.find(b"\r\n", position)) >= 0:
                is_end, position = end == position, end + 2
                if is_end and not any(pieces):
                    return b""
                if is_end:
                    position -= 2
                    break
            if not any(pieces) and len(incoming) - position > MAX_HEAD_BYTES:
                raise ValueError("a line that does not end")
        except ValueError:
            # What came before it is handed on first.
            if not any(pieces):
                raise
        finally:
            del incoming[:position]
        return b"".join(pieces) or None

    def _failed(self, exc: Exception) -> AdapterError:
        if isinstance(exc, TimeoutError):
            message = f"{self._server_name} was silent for {self._timeout_s:g} seconds."
            return AdapterError("upstream-timeout", message, retryable=True)
        return _broke_off(self._server_name, "broke the connection")


class HttpConnectionPool:
    """Connections to models' servers; those whose answer is whole are kept a while for the next request."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], list[tuple[float, Connection]]] = {}

    async def post(
        self, url: str, body: bytes, *, api_key: str = "", timeout_s: float, server_name: str
    ) -> HttpResponse:
        """Send `body` to `url` and return the answer, its head read; `HttpResponse.close` must follow.

        Args:
            url: Absolute, http or https.
            body: JSON.
            api_key: Sent as a bearer token; "" for none.
            timeout_s: Longest wait for the next byte (seconds, > 0).
            server_name: What errors call the server.

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
            response = HttpResponse(self, address, kept, server_name)
            try:
                await response.send(request, timeout_s)
                return response
            except AdapterError as exc:
                # A server may close a connection just when it is used again (RFC 9112, section 9.3.1).
                if exc.code != "upstream-broke-off":
                    raise
        response = HttpResponse(self, address, await _connect(parts, server_name), server_name)
        await response.send(request, timeout_s)
        return response

    def keep(self, address: tuple[str, str], connection: Connection) -> None:
        """Keep a connection whose answer is whole, and drop those that were kept too long."""
        now_s = time.monotonic()
        for known, connections in list(self._kept.items()):
            fresh = [kept for kept in connections if now_s - kept[0] < KEPT_S]
            for kept in connections:
                if kept not in fresh:
                    kept[1].transport.abort()
            if fresh:
                self._kept[known] = fresh
            else:
                del self._kept[known]
        mine = self._kept.setdefault(address, [])
        if len(mine) < MAX_KEPT:
            mine.append((now_s, connection))
        else:
            connection.transport.abort()

    def close(self) -> None:
        """Drop what is kept."""
        for connections in self._kept.values():
            for _, connection in connections:
                connection.transport.abort()
        self._kept.clear()

    def _take(self, address: tuple[str, str]) -> Connection | None:
        """Return a kept connection that is still good, the newest first."""
        connections = self._kept.get(address, [])
        while connections:
            kept_s, connection = connections.pop()
            is_good = not connection.is_over and not connection.transport.is_closing()
            if is_good and not connection.incoming and time.monotonic() - kept_s < KEPT_S:
                return connection
            connection.transport.abort()
        return None


async def _connect(parts: SplitResult, server_name: str) -> Connection:
    is_https = parts.scheme == "https"
    try:
        if not parts.hostname:
            raise ValueError("an address without a host")
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, connection = await asyncio.get_running_loop().create_connection(
                Connection,
                parts.hostname,
                parts.port or (443 if is_https else 80),
                ssl=_tls() if is_https else None,
            )
            return connection
    except (OSError, TimeoutError, ValueError) as exc:
        raise AdapterError(
            "upstream-unreachable", f"{server_name} cannot be reached.", retryable=True
        ) from exc


@functools.cache
def _tls() -> ssl.SSLContext:
    """Return the system's authorities; reading them takes longer than a request may."""
    return ssl.create_default_context()


def _broke_off(server_name: str, what: str) -> AdapterError:
    return AdapterError("upstream-broke-off", f"{server_name} {what}.", retryable=True)
