"""The front as the role `ingress` sets it up, for tests: HAProxy with its settings, and workers behind it.

The workers are small HTTP servers: HAProxy and its settings are what is tried.
"""

from __future__ import annotations

import contextlib
import http.server
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from pipecatapp.adapters.llm.server_process import free_ports
from testing.ansible_code import ROOT
from testing.e2e.experts.workers import make_identity
from testing.e2e.processes import is_open

ROLE = ROOT / "ansible/roles/ingress"
START_TIMEOUT_S = 20.0


class Worker(http.server.ThreadingHTTPServer):
    """Answers with its name: with 503 while it `refuses`, not at all when it `falls_silent`.

    It counts who asks. HAProxy's health checks are no askers, and are answered by what `ready` says.
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


@dataclass(frozen=True)
class Written:
    """Where the settings are, the front's port and that of the first worker."""

    folder: Path
    port: int
    first_worker: int


def neighbours() -> int:
    """Return a port that is free, as the one after it."""
    while True:
        port = free_ports(1)[0]
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port + 1)):
            return port


def write_settings(folder: Path, mode: str = "standalone") -> Written:
    """Have Ansible write what the role would; in a cluster, haproxy.cfg is a template of Nomad's."""
    port, https_port = free_ports(2)
    first_worker = neighbours()
    (folder / "tls").mkdir()
    combined = make_identity(folder).bundle.rename(folder / "tls/node.pem")
    shutil.copy(combined, folder / "tls/ca.crt")
    own = (yaml.safe_load((ROLE / part / "main.yaml").read_text()) for part in ("defaults", "vars"))
    values = {name: value for part in own for name, value in part.items()} | {
        "ansible_python_interpreter": sys.executable,
        "ingress_http_port": port,
        "ingress_https_port": https_port,
        "ingress_workers": 2,
        "ingress_names": ["localhost", "MyPC", "mypc.fritz.box."],
        "ingress_domains": ["local", "lan"],
        "twin_mode": mode,
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
    return Written(folder, port, first_worker)


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


def told(port: int, head: str, *headers: str) -> tuple[int, str]:
    """Send a request as it is written; return the status and the body."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        lines = [head, *headers, "Connection: close"] if "1.1" in head else [head, *headers]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b"")).decode()
    top, _, body = answer.partition("\r\n\r\n")
    return int(top.split()[1]), body
