"""What commands that must answer at once import, and that they print what is theirs alone.

How long they take is measured by `scripts/bench start`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from testing.ansible_code import ROOT
from testing.fakes.fake_embedder import FakeEmbedder
from testing.fakes.fake_llm import FakeLlm
from testing.fakes.openai_server import KEY, OpenAiServer, serving

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

HEAVY = {
    *("numpy", "onnxruntime", "tokenizers", "faiss", "av", "aiortc", "pipecat", "loguru", "cryptography"),
    *("pydantic", "pydantic_settings", "fastapi", "starlette", "uvicorn", "httpx", "rich", "click", "yaml"),
    *("openai", "websockets", "asyncio"),
}
"""Imports that take a tenth of a second or more, with what they bring."""
STATUS = {
    "checks": {"llm": {"ok": True, "detail": "answered"}},
    "engines": {"llm": "a small one"},
    "calls": {"active": 1, "limit": 4},
    "sessions": 2,
}
RUN = """
import json, sys
from pipecatapp.cli import main
try:
    code = main(sys.argv[2:])
except SystemExit as exc:
    code = exc.code or 0
json.dump(sorted(sys.modules), open(sys.argv[1], "w"))
sys.exit(code)
"""


class Agent(BaseHTTPRequestHandler):
    status, body = 200, json.dumps(STATUS)

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/api/status" else 404)
        self.end_headers()
        self.wfile.write(self.body.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Refusing(Agent):
    status = 421
    body = json.dumps(
        {"error": {"code": "unknown-name", "message": "Not by this name.", "hint": "By its address."}}
    )


class Silly(Agent):
    body = "<html>"


@pytest.fixture
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), getattr(request, "param", Agent)) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def twin(folder: Path, *words: str, **environment: str) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """Run a command in a process of its own; return it, and the packages that it imported."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TWIN_")}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(folder / "modules"), *words],
        cwd=ROOT,
        env=kept | {"HOME": str(folder)} | environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    modules = json.loads((folder / "modules").read_text())
    return done, {name.partition(".")[0] for name in modules}


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["status", "--help"]])
def test_help_imports_nothing_heavy(tmp_path: Path, words: list[str]) -> None:
    done, modules = twin(tmp_path, *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert not modules & HEAVY


def test_status_imports_nothing_heavy_and_says_how_the_agent_is(tmp_path: Path, port: int) -> None:
    done, modules = twin(tmp_path, "status", TWIN_PORT=str(port))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "ready",
        "  ok  llm: answered",
        "  llm: a small one",
        "  calls: 1 of 4; conversations: 2",
    ]
    assert not modules & HEAVY


def test_status_gives_the_agents_json(tmp_path: Path, port: int) -> None:
    done, _ = twin(tmp_path, "status", "--json", "--url", f"http://localhost:{port}/")
    assert json.loads(done.stdout) == STATUS


@pytest.mark.parametrize(
    ("port", "told"),
    [
        (Refusing, "twin status: Not by this name.\n  By its address.\n"),
        (Silly, "twin status: The agent answered 200: <html>\n"),
    ],
    indirect=["port"],
)
def test_what_the_agent_refuses_is_told_in_words(tmp_path: Path, port: int, told: str) -> None:
    done, _ = twin(tmp_path, "status", TWIN_PORT=str(port))
    assert (done.returncode, done.stdout, done.stderr) == (1, "", told)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "ftp://127.0.0.1", "http://127.0.0.1:http"])
def test_no_agent_is_told_in_words(tmp_path: Path, url: str) -> None:
    done, modules = twin(tmp_path, "status", "--url", url)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"twin status: No agent answers at {url} (")
    assert len(done.stderr.splitlines()) == 2
    assert not modules & HEAVY


def test_a_workflow_prints_its_answer_and_nothing_else(tmp_path: Path) -> None:
    words = ("workflow", "run", "default_agent_loop", "--text", "What is 17 times 23?", "--llm-url")
    with serving(OpenAiServer(embedder=FakeEmbedder(64), llm=FakeLlm(["It just is."]))) as server:
        engines = {"EMBEDDER_SERVICE": "openai", "EMBEDDER_BASE_URL": server.url, "EMBEDDER_MODEL": "fake"}
        keys = {"OPENAI_API_KEY": KEY, "LLM_API_KEY": KEY}
        done, modules = twin(tmp_path, *words, server.url, **engines, **keys, TWIN_DATA_DIR=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "17 times 23 is 391.\n", "")
    assert not modules & {"pipecat", "aiortc", "loguru"}
