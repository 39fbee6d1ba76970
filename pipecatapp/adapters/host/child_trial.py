"""Runs a program once in a child process, and tells how it ended.

A CPU may show an instruction set that the system withholds (AMX, AVX-512 or AVX on a virtual machine): code
for it dies by SIGILL, and only a trial tells. It owns the child; what is tried is its callers'
business, what came of it `trial_results`'s, its exit status in words `exit_status`'s.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipecatapp.exit_status import describe_exit, fault_of
from pipecatapp.settings import child_environment

TIMEOUT_S = 300.0
"""Longest trial (seconds): 400 MB read from an old disk, and fifty tokens at 0.6 a second."""
TAIL_LINES = 3
"""How many of a child's last lines are told."""


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
        return describe_exit(self.code) + (f": {self.tail}" if self.tail and not self.is_well else "")


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
