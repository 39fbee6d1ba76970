"""A shim beside one process: passes signals on, and reports that the CPU ended it.

The process that chose the program becomes it, run as a file by an interpreter without site packages, so that
it costs little memory. Usage: process_shim.py DESCRIPTOR, from which it reads a JSON list of two commands:
the program's, and one that is run, with how it ended as its last argument, when the program ended by SIGILL.
(Its own command line does not show the program's, so that who looks for it finds one.) Not here: starting the
program again, which is the service manager's.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import NoReturn

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
ILLEGAL_AS_STATUS = 128 + signal.SIGILL


def exec_with_shim(
    command: Sequence[str], crash_command: Sequence[str], environment: Mapping[str, str]
) -> NoReturn:
    """Replace this process by one that stays beside a program.

    Args:
        command: The program and its arguments.
        crash_command: What is run, with how it ended as its last argument, when it ended by SIGILL.
        environment: Of both.
    """
    reading, writing = os.pipe()
    os.write(writing, json.dumps([list(command), list(crash_command)]).encode())
    os.close(writing)
    os.set_inheritable(reading, True)
    python = sys.executable
    os.execve(python, [python, "-I", "-S", os.path.abspath(__file__), str(reading)], dict(environment))


def main(arguments: list[str]) -> int:
    """Run the program to its end; return its exit status, as shells count it."""
    with os.fdopen(int(arguments[0]), encoding="utf-8") as given:
        command, crash_command = json.load(given)
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    child = subprocess.Popen(command, preexec_fn=_unblock)  # noqa: PLW1509 - there are no threads here

    def pass_on(number: int, _frame: FrameType | None) -> None:
        child.send_signal(number)

    for number in PASSED_ON:
        signal.signal(number, pass_on)
    _unblock()
    code = child.wait()
    status = 128 - code if code < 0 else code
    if status == ILLEGAL_AS_STATUS:
        subprocess.run([*crash_command, "it ended by SIGILL when it served"], check=False)
    return status


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
