"""Benchmarks of this machine's memory, disk and network card.

It owns the three measurements; numbers and units are said in each function.
"""

from __future__ import annotations

import mmap
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

MEMORY_BYTES = 256 << 20
"""How much memory is read (bytes): more than the caches of any desktop CPU (96 MiB, AMD's 7800X3D)."""
MEMORY_SHARE = 4
"""At most this part, one in so many, of the memory that is free is taken for it."""
MEMORY_ROUNDS = 7
DISK_BYTES = 256 << 20
"""How much of a file is read at most (bytes)."""
DISK_BLOCK_BYTES = 4 << 20
"""What is asked for at a time (bytes); disks are at their best from 1 MiB on."""
DISK_LIMIT_S = 5.0
"""When it stops reading a slow disk (seconds)."""


def memory_read_mb_s(threads: int, available_mb: int) -> float:
    """Return how fast memory is read in order (10^6 bytes a second): the best of several rounds.

    Each thread sums a part of its own of one array of whole numbers, which NumPy does without Python's lock
    and with SSE2 at least, so that what bounds it is memory.

    Args:
        threads: How many read at once, > 0.
        available_mb: Memory that is free (mebibytes).
    """
    import numpy as np

    size = min(MEMORY_BYTES, (available_mb << 20) // MEMORY_SHARE)
    data = np.ones(max(threads, size // 8), dtype=np.int64)
    parts = np.array_split(data, threads)
    best_s = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(MEMORY_ROUNDS):
            start_s = time.perf_counter()
            list(pool.map(np.add.reduce, parts))
            best_s = min(best_s, time.perf_counter() - start_s)
    return data.nbytes / best_s / 1e6


def disk_read_mb_s(path: Path) -> float | None:
    """Return how fast a file is read from its disk (10^6 bytes a second), None when it cannot be told.

    It is read past the kernel's cache (open(2), O_DIRECT), which file systems in memory refuse.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECT)
    except OSError:
        return None
    try:
        with mmap.mmap(-1, DISK_BLOCK_BYTES) as block:  # O_DIRECT wants memory that begins at a page
            total, start_s = 0, time.perf_counter()
            while total < DISK_BYTES and time.perf_counter() - start_s < DISK_LIMIT_S:
                count = os.preadv(handle, [block], total)
                total += count
                if count < DISK_BLOCK_BYTES:
                    break
            elapsed_s = time.perf_counter() - start_s
    except OSError:
        return None
    finally:
        os.close(handle)
    return total / elapsed_s / 1e6 if total else None


def link_mbit_s(proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> int | None:
    """Return the speed of the card that the default route goes by (10^6 bits a second), None when untold.

    Wireless and virtual cards often do not tell one (docs.kernel.org, sysfs-class-net: speed).
    """
    try:
        routes = (proc / "net/route").read_text(encoding="ascii").splitlines()[1:]
        card = next(words[0] for words in map(str.split, routes) if len(words) > 1 and words[1] == "00000000")
        speed = int((sys / "class/net" / card / "speed").read_text(encoding="ascii"))
    except (OSError, ValueError, StopIteration):
        return None
    return speed if speed > 0 else None
