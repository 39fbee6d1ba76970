"""The front as the role `ingress` sets it up, before workers that begin and end.

The workers are small HTTP servers: HAProxy and its settings are what is tried here.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from pipecatapp.adapters.llm_server import free_ports
from testing.e2e.experts.workers import make_pair
from testing.e2e.processes import is_open

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[3]
ROLE = ROOT / "ansible/roles/ingress"
START_TIMEOUT_S = 20.0
ASKED = 20
READING = ("GET", "HEAD")
WRITING = ("POST", "PUT", "PATCH", "DELETE")


class Worker(http.server.ThreadingHTTPServer):
    """Answers with its name: with 503 while it `refuses`, not at all when it `falls_silent`, and counts the askers.

    HAProxy's health checks are no askers, and are answered by what `ready` says.
    """

    def __init__(self, port: int, name: str) -> None:
        super().__init__(("127.0.0.1", port), Answer)
        self.worker_name, self.ready, self.refuses, self.falls_silent, self.asked = (
            name,
            True,
            False,
            False,
            0,
        )
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def end(self) -> None:
        self.shutdown()
        self.server_close()


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Worker

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/health":
            self._answer(self.server.ready)
            return
        self.server.asked += 1
        if self.server.falls_silent:
            self.close_connection = True
        else:
            self._answer(self.server.ready and not self.server.refuses)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, does: bool) -> None:
        body = f"{self.server.worker_name} {'answers' if does else 'does not'}".encode()
        self.send_response(200 if does else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def neighbours() -> int:
    """Return a port that is free, as the one after it."""
    while True:
        port = free_ports(1)[0]
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port + 1)):
            return port


def write_settings(folder: Path, http_port: int, https_port: int, first_worker: int) -> None:
    """Have Ansible write what the role would on a machine that stands alone, with two workers."""
    (folder / "tls").mkdir()
    make_pair(folder).combined.rename(folder / "tls/node.pem")
    own = (yaml.safe_load((ROLE / part / "main.yaml").read_text()) for part in ("defaults", "vars"))
    values = {name: value for part in own for name, value in part.items()} | {
        "ansible_python_interpreter": sys.executable,
        "ingress_http_port": http_port,
        "ingress_https_port": https_port,
        "ingress_workers": 2,
        "twin_mode": "standalone",
        "twin_init": "systemd",
        "twin_config_dir": str(folder),
        "twin_data_dir": str(folder),
        "twin_ports": {"worker_base": first_worker - 1},
    }
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": values,
        "tasks": [
            {"ansible.builtin.template": {"src": f"{ROLE}/templates/{name}.j2", "dest": f"{folder}/{name}"}}
            for name in ("haproxy.cfg", "unavailable.http", "unavailable.json")
        ],
    }
    (folder / "play.yaml").write_text(yaml.safe_dump([play]))
    ansible = Path(sys.executable).with_name("ansible-playbook")
    subprocess.run([ansible, "-i", "localhost,", "-c", "local", folder / "play.yaml"], cwd=folder, check=True)


@dataclass(frozen=True)
class Written:
    """Where the settings are, the front's port and that of the first worker."""

    folder: Path
    port: int
    first_worker: int


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("front")
    port, https_port = free_ports(2)
    first_worker = neighbours()
    write_settings(folder, port, https_port, first_worker)
    return Written(folder, port, first_worker)


@pytest.fixture
def workers(written: Written) -> Iterator[list[Worker]]:
    begun = [Worker(written.first_worker + number, f"w{number + 1}") for number in range(2)]
    yield begun
    for worker in begun:
        worker.end()


@contextlib.contextmanager
def front(written: Written) -> Iterator[str]:
    """HAProxy with these settings, just begun; yields its address."""
    program = shutil.which("haproxy")
    assert program, "haproxy is not installed"
    with subprocess.Popen([program, "-db", "-q", "-f", str(written.folder / "haproxy.cfg")]) as process:
        try:
            end_s = time.monotonic() + START_TIMEOUT_S
            while not is_open(written.port):
                assert time.monotonic() < end_s, "HAProxy does not listen"
                time.sleep(0.01)
            yield f"http://127.0.0.1:{written.port}"
        finally:
            process.terminate()


def ask(address: str, method: str = "POST", path: str = "/api/chat") -> tuple[int, str]:
    body = None if method in READING else b"{}"
    request = urllib.request.Request(
        f"{address}{path}", body, {"Content-Type": "application/json"}, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as exc:
        return exc.code, exc.read().decode()


@pytest.mark.parametrize("method", [*READING, *WRITING])
def test_a_worker_that_is_gone_keeps_nobody_from_the_other(
    written: Written, workers: list[Worker], method: str
) -> None:
    workers[0].end()
    with front(written) as address:
        answers = {ask(address, method)[0] for _ in range(ASKED)}

    assert answers == {200}
    assert workers[1].asked == ASKED


@pytest.mark.parametrize("method", WRITING)
def test_what_may_have_been_done_is_asked_once(written: Written, workers: list[Worker], method: str) -> None:
    for worker in workers:
        worker.falls_silent = True
    with front(written) as address:
        code, _ = ask(address, method)
    assert (code, workers[0].asked + workers[1].asked) == (502, 1)

    for worker in workers:
        worker.falls_silent, worker.refuses = False, True
    with front(written) as address:
        code, _ = ask(address, method)
    assert (code, workers[0].asked + workers[1].asked) == (503, 2)


@pytest.mark.parametrize("failure", ["falls_silent", "refuses"])
@pytest.mark.parametrize("method", READING)
def test_what_only_reads_is_asked_of_the_other_worker(
    written: Written, workers: list[Worker], method: str, failure: str
) -> None:
    setattr(workers[0], failure, True)
    with front(written) as address:
        answers = {ask(address, method)[0] for _ in range(ASKED)}

    assert answers == {200}
    assert workers[0].asked > 0, "nobody tried it"


def test_when_no_worker_is_ready_they_are_asked_what_is_missing(
    written: Written, workers: list[Worker]
) -> None:
    for worker in workers:
        worker.ready = False
    with front(written) as address:
        code, answer = ask(address)

    assert code == 503
    assert answer in ("w1 does not", "w2 does not")


def test_when_no_worker_runs_a_program_is_told_when_to_come_back(written: Written) -> None:
    with front(written) as address:
        end_s = time.monotonic() + START_TIMEOUT_S
        code, answer = ask(address)
        while not answer.startswith("{") and time.monotonic() < end_s:
            code, answer = ask(address)

    assert code == 503
    assert json.loads(answer)["error"]["code"] == "starting"
