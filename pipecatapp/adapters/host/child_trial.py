"""Runs a program once in a child process, and tells how it ended.

A CPU may show an instruction set that the system withholds (AMX, AVX-512 or AVX on a virtual machine): code
for it dies by SIGILL, and only a trial tells. It owns the child and the words; what is tried is its callers'
business, what came of it `trial_results`'s.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipecatapp.settings import child_environment

TIMEOUT_S = 300.0
"""Longest trial (seconds): 400 MB read from an old disk, and fifty tokens at 0.6 a second."""
TAIL_LINES = 3
"""How many of a child's last lines are told."""
FAULTS = frozenset(
    {
        signal.SIGILL,
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGTRAP,
        signal.SIGABRT,
        signal.SIGSYS,
    }
)
"""Signals that a program brings upon itself. SIGKILL, SIGTERM and the like come from others, and prove
nothing."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a child ended.

    Args:
        code: Exit status; minus the number of the signal that ended it; None when it was stopped at its time
            limit.
        output: What it wrote to its standard output.
        tail: Its last lines.
    """

    code: int | None
    output: str = ""
    tail: str = ""

    @property
    def is_well(self) -> bool:
        """Whether it did what it was started for."""
        return self.code == 0

    @property
    def fault(self) -> str:
        """The signal that it died of by itself, in words; "" when it did not."""
        return fault_of(self.code)

    @property
    def words(self) -> str:
        """How it ended, in words."""
        return ending_words(self.code) + (f": {self.tail}" if self.tail and not self.is_well else "")


def run_child(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    without: Sequence[str] = (),
    timeout_s: float = TIMEOUT_S,
    folder: str | None = None,
) -> Ending:
    """Run a program to its end; it gets no secrets.

    Args:
        command: Program and arguments.
        environment: Variables to set besides those of this process.
        without: Variables that it does not get.
        timeout_s: When it is killed (seconds, > 0).
        folder: Its working folder; this process's own when None.
    """
    try:
        done = subprocess.run(
            [*guard(), *command],
            env=child_environment(without=without) | dict(environment or {}),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Ending(None)
    except OSError as exc:
        return Ending(127, tail=f"{command[0]}: {exc.strerror}")
    return Ending(done.returncode, done.stdout, " ".join(done.stderr.strip().splitlines()[-TAIL_LINES:]))


def guard() -> list[str]:
    """Return a prefix (util-linux) that ends a child when this process is killed."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []


def fault_of(code: int | None) -> str:
    """Return the signal that a program died of by itself, in words; "" when it did not."""
    number = _signal_of(code)
    return ending_words(code) if number in FAULTS else ""


def is_illegal_instruction(code: int | None) -> bool:
    """Whether a program ended at an instruction that the CPU or the system does not execute."""
    return _signal_of(code) == signal.SIGILL


def ending_words(code: int | None) -> str:
    """Return how a program with this exit status ended, in words."""
    if code is None:
        return "still running"
    number = _signal_of(code)
    if number is None:
        return f"exit status {code}"
    if number == signal.SIGILL:
        return "SIGILL, an instruction that this CPU or its system does not execute"
    return f"signal {number.name}"


def _signal_of(code: int | None) -> signal.Signals | None:
    """Return the signal of an exit status, also in the form of shells and of qemu (128 and the number)."""
    if code is None:
        return None
    number = -code if code < 0 else code - 128 if code == 128 + signal.SIGILL else 0
    try:
        return signal.Signals(number)
    except ValueError:
        return None
