"""Real memory services for tests: `twin memory serve` as a process, whose embeddings are the fake's.

It owns the processes, their folders and ports; what they are asked is the tests'.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from pipecatapp.adapters.memory.client import MemoryServiceClient
from pipecatapp.adapters.memory.remote import RemoteMemoryStore
from testing.cluster_agents import free_ports
from testing.fakes.fake_clock import FakeClock
from testing.fakes.fake_embedder import FakeEmbedder
from testing.fakes.openai_server import OpenAiServer, serving

REPO = Path(__file__).resolve().parents[3]
TOKEN = "a-long-enough-token"
WAIT_S = 90.0
"""Longest wait for a service to become what it should (seconds)."""
POLL_S = 0.05


@dataclass
class MemoryService:
    """One `twin memory serve`.

    Args:
        folder: Its TWIN_DATA_DIR.
        embedder_url: Where its embeddings come from.
        environment: Further variables, such as TWIN_CONSUL_URL.
        arguments: Further arguments.
    """

    folder: Path
    embedder_url: str
    environment: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    token: str = TOKEN
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.folder / "service.log").read_text(errors="replace")

    def start(self) -> MemoryService:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = self.port or free_ports(1)[0]
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "TWIN_DATA_DIR": str(self.folder),
            "TWIN_MEMORY_TOKEN": self.token,
            "EMBEDDER_SERVICE": "openai",
            "EMBEDDER_BASE_URL": self.embedder_url,
            "OPENAI_API_KEY": "a-secret",
            **self.environment,
        }
        command = [sys.executable, "-m", "pipecatapp", "memory", "serve", "--port", str(self.port)]
        with (self.folder / "service.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *self.arguments], cwd=REPO, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        return self

    def kill(self) -> None:
        """End it as a power cut does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(WAIT_S)
            self.process = None

    def stop(self) -> int:
        """End it in peace; return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(WAIT_S)
        self.process = None
        return code

    def health(self) -> tuple[int, dict[str, Any]]:
        """Return status and body of `/health`; (0, {}) while nothing listens."""
        with contextlib.suppress(httpx.TransportError):
            reply = httpx.get(f"{self.url}/health", timeout=10, trust_env=False)
            return reply.status_code, reply.json()
        return 0, {}

    def wait(self, *, role: str, pending: int | None = None) -> MemoryService:
        """Wait until it has a role: alone, leading, cut-off or waiting."""
        deadline_s = time.monotonic() + WAIT_S
        while time.monotonic() < deadline_s:
            assert self.process is None or self.process.poll() is None, self.log
            _, body = self.health()
            if body.get("role") == role and pending in (None, body["pending"]):
                return self
            time.sleep(POLL_S)
        raise AssertionError(f"not {role} in {WAIT_S:g} s: {self.health()}\n{self.log[-3000:]}")

    def client(self, *others: MemoryService) -> RemoteMemoryStore:
        """Return an agent's memory at this service, and behind it at others."""
        urls = [service.url for service in (self, *others)]
        return RemoteMemoryStore(MemoryServiceClient(lambda: urls, self.token), FakeClock())


@contextlib.contextmanager
def embedding_server() -> Iterator[str]:
    """Yield the address of a server whose nearness is the fake embedder's: shared words."""
    with serving(OpenAiServer(embedder=FakeEmbedder())) as server:
        yield server.url


def twin(service: MemoryService, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `twin memory ...` as somebody who uses this service."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(service.folder),
        "TWIN_DATA_DIR": str(service.folder),
        "TWIN_MEMORY": "remote",
        "TWIN_MEMORY_URL": service.url,
        "TWIN_MEMORY_TOKEN": service.token,
        **variables,
    }
    return subprocess.run(
        [sys.executable, "-m", "pipecatapp", "memory", *arguments],
        cwd=REPO,
        env=environment,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
