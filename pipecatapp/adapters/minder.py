"""Stays beside one program, as a service manager's child: passes signals on, and tells when the CPU ended it.

Run as a file by an interpreter without site packages, so that it costs a few megabytes: the process that
chose the program becomes it. Usage: minder.py COUNT [WORD...] PROGRAM [ARGUMENT...], where the first COUNT
words are a command that is run, with how it ended as its last argument, when the program ended by SIGILL.
Not here: starting the program again, which is the service manager's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import FrameType

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
ILLEGAL_AS_STATUS = 128 + signal.SIGILL


def main(arguments: list[str]) -> int:
    """Run the program to its end; return its exit status, as shells count it."""
    count = int(arguments[0])
    telling, command = arguments[1 : 1 + count], arguments[1 + count :]
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    child = subprocess.Popen(command, preexec_fn=_unblock)  # noqa: PLW1509 - there are no threads here

    def pass_on(number: int, _frame: FrameType | None) -> None:
        child.send_signal(number)

    for number in PASSED_ON:
        signal.signal(number, pass_on)
    _unblock()
    code = child.wait()
    status = 128 - code if code < 0 else code
    if status == ILLEGAL_AS_STATUS and telling:
        subprocess.run([*telling, "it ended by SIGILL when it served"], check=False)
    return status


def command_of(python: str, telling: list[str], command: list[str]) -> list[str]:
    """Return the command that runs `command` under this program, and `telling` when the CPU ends it."""
    return [python, "-I", "-S", os.path.abspath(__file__), str(len(telling)), *telling, *command]


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
