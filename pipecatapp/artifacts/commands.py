"""Runs a builder's program while its lines are read.

It owns the child process: its log, its end when we are interrupted, and the limit on its silence. What the
lines mean is the caller's business.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from pipecatapp.errors import ArtifactError

LOG_TAIL = 15
"""Lines of the log that an error shows."""
TICK_S = 1.0
"""Time between two looks at the clock while the program says nothing."""
STOP_S = 20.0
"""Time for a program to clean up after it was told to stop, on an old disk."""
SILENCE_S = 3600.0
"""Longest time without a line: the link of a large program on a slow, swapping machine takes minutes."""


def run_logged(
    command: Sequence[str],
    log: Path,
    label: str,
    *,
    on_line: Callable[[str], None] = lambda line: None,
    on_tick: Callable[[], None] = lambda: None,
    cwd: Path | None = None,
    silence_s: float = SILENCE_S,
) -> None:
    """Run a program to its end.

    Args:
        command: Program and arguments.
        log: File that its output is appended to.
        label: What is made, for the error.
        on_line: Called with each line, without its end.
        on_tick: Called at least every second or so, and after each line.
        cwd: Folder to run it in; this process's own when None.
        silence_s: Time without output after which it is stopped (seconds), > 0.

    Raises:
        ArtifactError: It ended with another code than 0, fell silent, or could not be started.
    """
    tail: deque[str] = deque(maxlen=LOG_TAIL)

    def see(line: str) -> None:
        tail.append(line.rstrip())
        on_line(line.rstrip("\n"))

    name = Path(next((word for word in command if "=" not in word and word != "env"), command[0])).name
    with log.open("ab") as record:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=cwd
            )
        except OSError as exc:
            raise ArtifactError("build-failed", f"{label}: {name} cannot be run: {exc.strerror}") from exc
        try:
            _read(process, record.write, see, on_tick, silence_s)
            code = process.wait(timeout=STOP_S)
        except (TimeoutError, subprocess.TimeoutExpired) as exc:
            stop(process)
            raise ArtifactError(
                "build-failed", f"{label}: {name} said nothing for {silence_s:.0f} s and was stopped"
            ) from exc
        except BaseException:
            stop(process)
            raise
        finally:
            assert process.stdout is not None
            process.stdout.close()
    if code != 0:
        shown = "\n  ".join(tail)
        message = f"{label}: {name} ended with {code}:\n  {shown}"
        raise ArtifactError("build-failed", message, hint=f"The whole log is {log}.")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a program as Ctrl-C does, so that it removes what it was making; by force when it lingers."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _read(
    process: subprocess.Popen[bytes],
    write: Callable[[bytes], object],
    see: Callable[[str], None],
    on_tick: Callable[[], None],
    silence_s: float,
) -> None:
    """Hand on the program's lines until it closes its output."""
    assert process.stdout is not None
    rest = b""
    last_output_s = time.monotonic()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(TICK_S):
                on_tick()
                if time.monotonic() - last_output_s > silence_s:
                    raise TimeoutError
                continue
            block = os.read(process.stdout.fileno(), 1 << 16)
            if not block:
                break
            last_output_s = time.monotonic()
            write(block)
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                see(line.decode(errors="replace"))
            on_tick()
    if rest:
        see(rest.decode(errors="replace"))
