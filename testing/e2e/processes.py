"""What the system says about processes.

It owns looks into /proc, which never block for long, and waiting for something to become true.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx

POLL_S = 0.02


async def eventually(is_true: Callable[[], bool | Awaitable[bool]], timeout_s: float) -> None:
    """Wait until `is_true()`; TimeoutError when it is not in `timeout_s` seconds."""
    async with asyncio.timeout(timeout_s):
        while True:
            answer = is_true()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(POLL_S)


async def until_healthy(http: httpx.AsyncClient, port: int, timeout_s: float) -> None:
    """Wait until a llama-server of this machine is ready; TimeoutError when it is not."""

    async def is_ready() -> bool:
        try:
            return (await http.get(f"http://127.0.0.1:{port}/health")).status_code == 200
        except httpx.TransportError:
            return False

    await eventually(is_ready, timeout_s)


def is_open(port: int) -> bool:
    """Whether somebody listens there on the loopback."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def is_running(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    return os.path.lexists(f"/proc/{pid}/exe") and bool(cmdline(pid))


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def environment(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process, files that it maps counted (MiB)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def niceness(pid: int) -> set[int]:
    """Return the niceness of every thread of the process."""
    tasks = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
    return {os.getpriority(os.PRIO_PROCESS, task) for task in tasks}


def children() -> list[str]:
    """Return the names of this process's children."""
    pids = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return [Path(f"/proc/{pid}/comm").read_text().strip() for pid in pids]
