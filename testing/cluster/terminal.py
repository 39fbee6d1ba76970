"""A terminal with a person at it: what is shown there is read, and answers and Ctrl-C are typed.

It owns the pseudo-terminal and its process; what is run in it, the tests say.
"""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

CTRL_C = "\x03"
POLL_S = 0.1
BLOCK_BYTES = 1 << 16


class Terminal:
    """A program that runs in a terminal of its own, from construction to `close`.

    Args:
        command: Program and arguments.
        log: File that everything shown is written to.
        cwd: Folder to run it in; this process's own when None.
        environment: Its environment; this process's own when None.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log.open("wb")
        self._shown = b""
        self._seen = 0
        self._master, slave = os.openpty()
        # In a session of its own, or the terminal would not be the one that passwords are asked at.
        self._process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=cwd,
            env=environment,
        )
        os.close(slave)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def shown(self) -> str:
        """Everything shown so far."""
        return self._shown.decode(errors="replace").replace("\r", "")

    def see(self, pattern: str, timeout_s: float = 60.0) -> str:
        """Wait for something to be shown after what was seen before, and return it.

        Raises:
            AssertionError: It was not shown in time, or the program ended without it.
        """

        def look() -> re.Match[bytes] | None:
            return re.search(pattern.encode(), self._shown[self._seen :])

        self.wait_until(lambda: look() is not None, f"'{pattern}' was not shown", timeout_s)
        found = look()
        assert found is not None
        self._seen += found.end()
        return found.group().decode(errors="replace")

    def wait_until(self, look: Callable[[], bool], otherwise: str, timeout_s: float) -> None:
        """Wait until `look` finds what it looks for while the program runs.

        Raises:
            AssertionError: With `otherwise` and the end of what was shown.
        """
        deadline_s = time.monotonic() + timeout_s
        while not look():
            if not self._reader.is_alive() and not look():
                raise AssertionError(f"{otherwise} until the end:\n{self.shown[-3000:]}")
            if time.monotonic() > deadline_s:
                raise AssertionError(f"{otherwise} in {timeout_s:g} s:\n{self.shown[-3000:]}")
            time.sleep(POLL_S)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._master, text.encode())

    def end(self, timeout_s: float = 60.0) -> int:
        """Wait for the program's end and return its status.

        Raises:
            AssertionError: It goes on.
        """
        try:
            status = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it goes on after {timeout_s:g} s:\n{self.shown[-3000:]}") from None
        self._reader.join(timeout_s)
        return status

    def close(self) -> None:
        """End the program as a closed window does, and the terminal."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._master)
        self._reader.join(1.0)
        self._log.close()

    def _read(self) -> None:
        while True:
            try:
                block = os.read(self._master, BLOCK_BYTES)
            except OSError:  # what Linux says when the last program on it has ended
                return
            if not block:
                return
            self._shown += block
            self._log.write(block)
            self._log.flush()
