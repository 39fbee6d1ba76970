"""Every module that asks Consul or Nomad asks them directly: a proxy for the internet hears nothing.

A stand-in for the agents answers on the loopback; another listener is what `http_proxy` and its like name.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args

from testing.ansible_code import load_library, module_files
from testing.https_stub import https_stub

pytestmark = pytest.mark.integration

TOKEN = "5ecfe7e0-0000-0000-0000-000000000000"
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
BYPASSES = ("no_proxy", "NO_PROXY")
NOT_AFTER = "notAfter=Jan  1 00:00:00 2040 GMT"


class Listener(ThreadingHTTPServer):
    """Remembers who asked for what, with which headers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.heard: list[tuple[str, dict[str, str]]] = []
        self.first: list[tuple[int, Any]] = []
        """Answers that come before the usual ones."""

    def answer(self, path: str) -> tuple[int, Any]:
        """An expert that answers; all else is refused, which ends a module at once."""
        if self.first:
            return self.first.pop(0)
        if path.startswith("/v1/health/service/"):
            host, port = self.server_address[:2]
            return 200, [{"Service": {"Address": host, "Port": port}, "Node": {"Address": host}}]
        if path == "/v1/chat/completions":
            return 200, {"model": "phi", "choices": [{"message": {"content": "Wet."}}]}
        return 403, "Permission denied"


class _Handler(BaseHTTPRequestHandler):
    server: Listener

    def _any(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.heard.append((f"{self.command} {self.path}", dict(self.headers)))
        status, answer = self.server.answer(self.path)
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = do_CONNECT = _any

    def log_message(self, *_arguments: object) -> None:
        return


@pytest.fixture
def listeners(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Listener, Listener]]:
    """The agents, and a proxy that the environment names for everything."""
    agent, proxy = Listener(), Listener()
    threads = [threading.Thread(target=each.serve_forever, args=(0.05,)) for each in (agent, proxy)]
    for thread in threads:
        thread.start()
    for name in PROXIES:
        monkeypatch.setenv(name, proxy.url)
    for name in BYPASSES:
        monkeypatch.delenv(name, raising=False)
    yield agent, proxy
    for each, thread in zip((agent, proxy), threads, strict=True):
        each.shutdown()
        each.server_close()
        thread.join()


MODULES: dict[str, dict[str, Any]] = {
    "acl_bootstrap": {"system": "consul", "secret": TOKEN},
    "cluster_leave": {"action": "forget", "node": "attic"},
    "cluster_servers": {"servers": ["den"]},
    "cluster_status": {"certificate": "node.pem", "inventory": {"den": "controller"}},
    "consul_acl": {"kind": "policy", "body": {"Name": "p"}},
    "expert_order": {
        "job_name": "j",
        "service_name": "llama-api-j",
        "namespace": "default",
        "models": [],
        "worker_count": 0,
        "tokens": 1,
    },
    "expert_report": {
        "job_name": "j",
        "rpc_job_name": "r",
        "namespace": "default",
        "service_name": "llama-api-j",
        "key": "k",
    },
    "node_in_catalogue": {"node": "den"},
    "nomad_drain": {"node": "den", "drained": False},
    "nomad_job": {"text": 'job "j" {}'},
    "nomad_namespace": {"name": "creative"},
    "nomad_node_ready": {"node": "den"},
    "nomad_variable": {"path": "nomad/jobs/j", "items": {"a": "b"}},
    "restart_agent": {"system": "nomad"},
}
"""What each is told beside where and as whom to ask."""
WITHOUT_A_TOKEN = ("restart_agent",)


def test_every_module_that_asks_them_is_tried() -> None:
    users = {path.stem for path in module_files() if "hashi_api import" in path.read_text(encoding="utf-8")}
    assert users == set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_sends_nothing_through_a_proxy(
    name: str,
    listeners: tuple[Listener, Listener],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    agent, proxy = listeners
    module = load_library(name)
    monkeypatch.setattr(AnsibleModule, "run_command", lambda *_words, **_more: (0, NOT_AFTER, ""))
    standard = {
        option: value
        for option, value in {
            "url": agent.url,
            "token": TOKEN,
            "consul_url": agent.url,
            "consul_token": TOKEN,
            "nomad_url": agent.url,
            "nomad_token": TOKEN,
            "ca": "",
            "timeout_s": 1,
        }.items()
        if option in yaml.safe_load(module.DOCUMENTATION)["options"]
    }
    with patch_module_args(standard | MODULES[name]), pytest.raises(SystemExit):
        module.main()

    assert proxy.heard == [], capsys.readouterr().out
    assert agent.heard, capsys.readouterr().out
    if name not in WITHOUT_A_TOKEN:
        shown = {header for _, headers in agent.heard for header, value in headers.items() if value == TOKEN}
        assert shown <= {"X-Consul-Token", "X-Nomad-Token"}
        assert shown or name == "acl_bootstrap"


@pytest.mark.parametrize("system", ["consul", "nomad"])
def test_a_request_over_tls_goes_through_no_proxy_either(
    system: str, listeners: tuple[Listener, Listener], tmp_path: Path
) -> None:
    _, proxy = listeners
    hashi_api = load_library("hashi_api")
    with https_stub(tmp_path) as (url, authority):
        api = hashi_api.Api(system, url, TOKEN, str(authority))
        assert api.call("GET", "/v1/status/leader") == (200, "hello")
        assert api.find("/v1/status/leader") == "hello"
    assert proxy.heard == []


NO_LEADER = (500, "rpc error: No cluster leader")


def test_an_election_is_waited_for_and_a_refusal_is_not(
    listeners: tuple[Listener, Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, _ = listeners
    hashi_api = load_library("hashi_api")
    monkeypatch.setattr(hashi_api, "POLL_S", 0.01)
    nomad = hashi_api.Api("nomad", agent.url)

    agent.first = [NO_LEADER, NO_LEADER, (200, {"Name": "den"})]
    assert nomad.request("GET", "/v1/node/x") == {"Name": "den"}
    agent.first = [NO_LEADER, (404, "not found")]
    assert nomad.find("/v1/node/x") is None
    agent.first = [(404, "not found")]
    with pytest.raises(hashi_api.ApiError, match="Nomad knows no /v1/node/x"):
        nomad.request("GET", "/v1/node/x")
    agent.heard.clear()
    with pytest.raises(hashi_api.ApiError, match="Nomad refused GET /v1/node/x: .*Permission denied"):
        nomad.request("GET", "/v1/node/x")
    assert len(agent.heard) == 1


def test_an_agent_that_does_not_answer_is_told_with_where_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    hashi_api = load_library("hashi_api")
    monkeypatch.setattr(hashi_api, "POLL_S", 0.01)
    monkeypatch.setattr(hashi_api, "ELECTION_S", 0.05)
    gone = Listener()
    gone.server_close()
    nomad = hashi_api.Api("nomad", gone.url, TOKEN)
    with pytest.raises(hashi_api.ApiError, match="Connection refused. Look at: journalctl -u nomad") as told:
        nomad.find("/v1/nodes")
    assert TOKEN not in str(told.value)
    with pytest.raises(hashi_api.ApiError, match=f"Nomad at {gone.url} does not answer"):
        nomad.call("GET", "/v1/nodes")
