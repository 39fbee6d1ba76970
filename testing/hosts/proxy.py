"""A proxy as some houses have one: it fetches from outside, and refuses what is inside.

It writes a line for each request to its output: `fetched NAME` or `refused NAME`.

Usage: python -m testing.hosts.proxy ADDRESS PORT
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import sys
from urllib.parse import urlsplit

CONNECT_TIMEOUT_S = 20.0
CHUNK_BYTES = 65536


def is_inside(name: str) -> bool:
    """Whether a name or address is this machine's, or the house's."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return "." not in name
    return address.is_loopback or address in ipaddress.ip_network("10.77.0.0/16")


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until one side ends."""
    with contextlib.suppress(OSError):
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection of a client: one request, then whatever follows."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, OSError):
        writer.close()
        return
    line, _, rest = head.partition(b"\r\n")
    method, target, version = line.decode("latin-1").split(" ", 2)
    url = urlsplit(target if "://" in target else f"//{target}")
    name, port = url.hostname or "", url.port or 80
    if is_inside(name):
        sys.stdout.write(f"refused {name}\n")
        sys.stdout.flush()
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
        return
    sys.stdout.write(f"fetched {name}\n")
    sys.stdout.flush()
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            far_reader, far_writer = await asyncio.open_connection(name, port)
    except (OSError, TimeoutError):
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()
        return
    if method == "CONNECT":
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    else:
        # One request a connection: what follows might be for another server.
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        kept = [
            each
            for each in rest.split(b"\r\n")
            if each and not each.lower().startswith((b"connection", b"proxy-"))
        ]
        far_writer.write(
            b"\r\n".join(
                [f"{method} {path} {version}".encode("latin-1"), *kept, b"Connection: close", b"", b""]
            )
        )
    await asyncio.gather(pass_on(reader, far_writer), pass_on(far_reader, writer))


async def main() -> None:
    """Serve until ended."""
    server = await asyncio.start_server(serve, sys.argv[1], int(sys.argv[2]))
    async with server:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
