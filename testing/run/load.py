"""How busy the machine is with what is not ours while tests run.

It owns reading /proc; what a run's budget means on a busy machine is `report`'s.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Self

MARK = "TWIN_TEST_RUN"
"""Variable that every process of a run has, also one whose parent is gone."""
PERIOD_S = 5.0
"""Between two looks (seconds)."""
KERNEL_THREADS = 2
"""The id of the parent of the kernel's threads, which work for everybody."""
BUSY = (0, 1, 2, 5, 6, 7)
"""Fields of /proc/stat's first line that are work or taken by the host: all but idleness and disks."""

Process = tuple[int, int]
"""A process' parent, and the CPU time of it and of its children that have ended (clock ticks)."""


def processes() -> dict[int, Process]:
    """Every process by its id."""
    found: dict[int, Process] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (
                (folder / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
            )
        except OSError:
            continue
        found[int(folder.name)] = int(fields[1]), sum(int(field) for field in fields[11:15])
    return found


def busy_ticks() -> int:
    """How long the cores have worked, for whomever, or were taken away (clock ticks, all cores)."""
    fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    return sum(int(fields[place]) for place in BUSY)


def known_ticks(alive: Mapping[int, Process], ours: int, mark: str) -> int:
    """The CPU time of all that descends from `ours`, bears the run's mark, or is the kernel's (clock ticks).

    Args:
        alive: As `processes` gives them.
        ours: The id of the process that runs the tests.
        mark: The value of `MARK`.
    """
    return sum(
        process[1] for pid, process in alive.items() if _descends(pid, alive, ours) or _bears(pid, mark)
    )


def _descends(pid: int, alive: Mapping[int, Process], ours: int) -> bool:
    while pid in alive:
        if pid in (ours, KERNEL_THREADS):
            return True
        pid = alive[pid][0]
    return False


def _bears(pid: int, mark: str) -> bool:
    try:
        return f"{MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


class LoadWatch:
    """Looks at the machine from `__enter__` to `__exit__`.

    Args:
        mark: The run's mark in the environment of its processes.
    """

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._others = 0
        self._looked_s = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(PERIOD_S)

    @property
    def share(self) -> float:
        """Of all cores, what others took: 0 to 1."""
        whole = self._looked_s * (os.cpu_count() or 1) * os.sysconf("SC_CLK_TCK")
        return min(1.0, self._others / whole) if whole else 0.0

    def _watch(self) -> None:
        busy, known = self._look()
        while not self._end.wait(PERIOD_S):
            busy_now, known_now = self._look()
            self._others += max(0, (busy_now - busy) - max(0, known_now - known))
            self._looked_s += PERIOD_S
            busy, known = busy_now, known_now

    def _look(self) -> tuple[int, int]:
        return busy_ticks(), known_ticks(processes(), os.getpid(), self._mark)
