"""The front as the role `ingress` sets it up, before workers that begin and end.

The workers are small HTTP servers: HAProxy and its settings are what is tried here.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from pipecatapp.web.security import UNKNOWN_NAME
from testing.fronts import START_TIMEOUT_S, Worker, Written, front, told, write_settings

pytestmark = pytest.mark.integration

ASKED = 20
READING = ("GET", "HEAD")
OUR_NAMES = (
    *(
        "localhost",
        "LOCALHOST:8000",
        "localhost.",
        "127.0.0.1:8000",
        "[::1]:8000",
        "10.1.2.3",
        "192.168.178.20:8443",
    ),
    *("172.31.0.1", "169.254.3.4", "[fe80::1]:8000", "[FD00::5]", "mypc:8000", "MyPC.Fritz.Box.:8000"),
)
OTHER_NAMES = (
    *("evil.example:8000", "mypc.evil.example", "localhost.evil.example", "127.0.0.1.evil.example"),
    *("other.fritz.box", "203.0.113.9:8000", "172.32.0.1", "[2001:db8::8]", "evil@localhost", "2130706433"),
)
WRITING = ("POST", "PUT", "PATCH", "DELETE")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write_settings(tmp_path_factory.mktemp("front"))


@pytest.fixture
def workers(written: Written) -> Iterator[list[Worker]]:
    begun = [Worker(written.first_worker + number, f"w{number + 1}") for number in range(2)]
    yield begun
    for worker in begun:
        worker.end()


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


@pytest.fixture(scope="module")
def port(written: Written) -> Iterator[int]:
    """The port of a front with a worker behind it."""
    worker = Worker(written.first_worker, "w1")
    with front(written):
        yield written.port
    worker.end()


@pytest.mark.parametrize("name", OUR_NAMES)
def test_by_our_names_and_private_addresses_people_are_let_through(port: int, name: str) -> None:
    status, body = told(port, "GET /api/memory HTTP/1.1", f"Host: {name}", f"Origin: http://{name}")
    assert (status, body) == (200, "w1 answers")


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("path", ["/", "/api/memory", "/health", "/v1/models", "/ws"])
@pytest.mark.parametrize("name", OTHER_NAMES)
def test_by_another_name_nobody_is_let_through(port: int, name: str, path: str, method: str) -> None:
    status, body = told(port, f"{method} {path} HTTP/1.1", f"Host: {name}", "Content-Length: 0")
    assert (status, json.loads(body)) == (421, UNKNOWN_NAME.to_wire())


def test_an_event_stream_by_another_name_is_refused(port: int) -> None:
    upgrade = (
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    head = "GET /ws HTTP/1.1"
    assert told(port, head, "Host: evil.example:8000", "Origin: http://evil.example:8000", *upgrade)[0] == 421


def test_who_names_nobody_is_refused(port: int) -> None:
    assert told(port, "GET /api/memory HTTP/1.0")[0] == 421
    assert told(port, "GET /api/memory HTTP/1.1", "Host:")[0] in (400, 421)
    assert told(port, "GET /api/memory HTTP/1.1", "Host: localhost", "Host: evil.example")[0] == 400
    assert told(port, "GET http://evil.example/ HTTP/1.1", "Host: localhost")[0] == 400
