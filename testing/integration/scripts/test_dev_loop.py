"""scripts/dev with stand-in models: it serves, restarts when a file changes, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

ROOT = Path(__file__).resolve().parents[3]
TIMEOUT_S = 60.0
"""Longest wait for a start on a busy machine (seconds); it takes one or two."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Dev:
    """The loop in a copy of what it reads, and what it says."""

    def __init__(self, folder: Path) -> None:
        for name in ("pipecatapp", "testing/fakes", "testing/bench", "group_vars"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("scripts/dev_loop.py", "testing/dev_agent.py", "pyproject.toml"):
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._said: list[str] = []
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("TWIN_", "PYTHON"))
        }
        self.process = subprocess.Popen(
            [sys.executable, "scripts/dev_loop.py", "--fake", "--port", str(self.port)],
            cwd=folder,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self._said.append(line)

    def text(self) -> str:
        return "".join(self._said)

    def wait_for(self, pattern: str, times: int = 1) -> None:
        deadline_s = time.monotonic() + TIMEOUT_S
        while len(re.findall(pattern, self.text())) < times:
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline_s, self.text()
            time.sleep(0.05)

    def children(self) -> set[int]:
        """Every process below the loop."""
        found: set[int] = set()
        parents = [self.process.pid]
        while parents:
            parent = parents.pop()
            for path in Path(f"/proc/{parent}/task").glob("*/children"):
                new = {int(word) for word in path.read_text(encoding="utf-8").split()} - found
                found |= new
                parents += new
        return found

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        code = self.process.wait(TIMEOUT_S)
        self._reader.join(TIMEOUT_S)
        return code


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    loop = Dev(tmp_path / "checkout")
    yield loop
    if loop.process.poll() is None:
        loop.end()


def test_it_answers_restarts_and_ends(dev: Dev) -> None:
    dev.wait_for(r"dev: up at http://127\.0\.0\.1:\d+ after")
    assert httpx.get(f"{dev.url}/health").json()["status"] == "ok"
    answer = httpx.post(
        f"{dev.url}/api/chat", json={"text": "Why is the sky blue?"}, timeout=TIMEOUT_S
    ).json()
    assert "scattered" in answer["text"]

    version = dev.folder / "pipecatapp/__init__.py"
    with version.open("a", encoding="utf-8") as file:
        file.write('\n__version__ = "7.7.7"\n')
    dev.wait_for(r"dev: pipecatapp/__init__\.py changed")
    dev.wait_for(r"dev: up at ", times=2)
    assert httpx.get(f"{dev.url}/api/status").json()["version"] == "7.7.7"

    children = dev.children()
    assert children
    assert dev.end() == 130
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()], dev.text()
    assert "Traceback" not in dev.text()


def test_a_mistake_is_told_and_the_next_change_tried(dev: Dev) -> None:
    dev.wait_for(r"dev: up at ")
    broken = dev.folder / "pipecatapp/agent/turn.py"
    right = broken.read_text(encoding="utf-8")
    broken.write_text("def (\n", encoding="utf-8")
    dev.wait_for(r"SyntaxError")
    dev.wait_for(r"dev: the agent has ended \(1\); it starts again when a file changes")

    broken.write_text(right, encoding="utf-8")
    dev.wait_for(r"dev: up at ", times=2)
    assert httpx.get(f"{dev.url}/health").status_code == 200


def test_nothing_outlives_a_loop_that_was_killed(dev: Dev) -> None:
    dev.wait_for(r"dev: up at ")
    children = dev.children()
    dev.end(signal.SIGKILL)
    deadline_s = time.monotonic() + TIMEOUT_S
    while [pid for pid in children if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline_s, dev.text()
        time.sleep(0.05)


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, str(ROOT / "scripts/dev_loop.py"), "--fake", "--port", str(port)]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
        )
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in done.stderr
    assert "scripts/dev --port" in done.stderr
