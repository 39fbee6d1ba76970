"""The real agent as a child process, for the tests: started on free ports, killed, started again.

It owns the process and its folder; it looks at nothing inside.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import httpx

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 20.0


def free_port() -> int:
    """Return a TCP port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Service:
    """A running agent.

    Args:
        folder: Its data and log.
        environment: Settings beside the ports and the data folder.
        command: What to run; the product's own `serve` by default.
    """

    def __init__(
        self, folder: Path, environment: Mapping[str, str] | None = None, command: tuple[str, ...] = ()
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        self.log_path = folder / "service.log"
        self._command = command or (sys.executable, "-m", "pipecatapp", "serve")
        self._environment = {
            "TWIN_DATA_DIR": str(folder / "data"),
            "TWIN_PORT": str(self.port),
            "TWIN_TLS_PORT": "0",
            "TWIN_HOST": "127.0.0.1",
            **(environment or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> Self:
        """Start it and wait until it is healthy.

        Raises:
            RuntimeError: It ended, or was not healthy in time; with the end of its log.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env={**os.environ, **self._environment},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s:
            if self._process.poll() is not None:
                raise RuntimeError(f"the agent ended with {self._process.returncode}:\n{self.log_tail()}")
            if self.is_healthy():
                return self
            time.sleep(0.2)
        health = self.get("/health")
        self.kill()
        raise RuntimeError(f"the agent is not healthy after {START_TIMEOUT_S} s: {health}\n{self.log_tail()}")

    def is_healthy(self) -> bool:
        """Return whether every part has answered."""
        try:
            return httpx.get(self.base_url + "/health", timeout=5, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def get(self, path: str) -> Any:
        """Return the JSON of a GET, or the error's text."""
        try:
            return httpx.get(self.base_url + path, timeout=10, trust_env=False).json()
        except httpx.TransportError as exc:
            return str(exc)

    def stop(self) -> int:
        """End it politely and return its exit status."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """Kill it and its children without warning, as a power cut does."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(STOP_TIMEOUT_S)

    def children(self) -> list[tuple[int, str]]:
        """Return its child processes: id and command line."""
        found = []
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                command = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                found.append((int(child), command))
        return found

    def open_files(self) -> int:
        """Return how many file descriptors it holds."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def rss_mb(self) -> float:
        """Return its resident memory, children not counted (megabytes)."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def cpu_s(self) -> float:
        """Return the CPU time that it has used, children not counted (seconds)."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def log_tail(self, lines: int = 30) -> str:
        """Return the end of its log."""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])
