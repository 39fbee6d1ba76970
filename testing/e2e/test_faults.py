"""What goes wrong is said clearly and mended: bad input, killed parts, lost callers, leaks."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from testing.e2e.client import Client, EventStream, Refused, calling
from testing.e2e.service import ROOT, Service

pytestmark = pytest.mark.e2e

NOTICED_S = 10.0
"""Longest time until a killed client is noticed."""
RECOVERED_S = 60.0
"""Longest time until a killed LLM server answers again."""
CYCLES = 200
WARM_UP = 60
"""Calls after which caches and thread pools are as large as they get."""
NONSENSE = ("{", "[]", '{"type": "dance"}', '{"type": "user_message"}', '{"type": "resume", "after_seq": -1}')
HEAD = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("faults"), {"TWIN_GREETING": "", "TWIN_MAX_CALLS": "2"}).start()
    yield service
    service.stop()


@pytest.fixture
async def http(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=service.base_url, timeout=60, trust_env=False) as client:
        yield client


def assert_refused(response: httpx.Response, status: int) -> str:
    """Check an error's form and return its code."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"code", "message", "hint"}
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", error["code"])
    assert error["message"]
    assert "Traceback" not in response.text
    return str(error["code"])


@pytest.mark.parametrize(
    "sdp",
    [
        "nonsense",
        "v=0\r\n",
        HEAD + "m=audio 9 UDP/TLS/RTP/SAVPF\r\n",
        HEAD + "m=audio x UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:oops\r\n",
        "\x00" * 500,
    ],
    ids=["words", "empty", "no-codec", "bad-port", "zeros"],
)
async def test_a_malformed_offer_is_refused_in_words(
    service: Service, http: httpx.AsyncClient, sdp: str
) -> None:
    response = await http.post("/api/offer", json={"sdp": sdp, "type": "offer"})

    assert assert_refused(response, 422) == "bad-sdp"
    assert service.is_healthy()
    assert service.get("/api/status")["calls"]["active"] == 0


async def test_an_offer_without_sdp_is_refused_in_words(http: httpx.AsyncClient) -> None:
    for body in ({}, {"sdp": "", "type": "offer"}, {"sdp": "v=0", "type": "answer"}, ["sdp"]):
        assert_refused(await http.post("/api/offer", json=body), 422)
    assert_refused(
        await http.post("/api/offer", content=b"{", headers={"content-type": "application/json"}), 422
    )


async def test_candidates_for_no_call_are_refused(http: httpx.AsyncClient) -> None:
    body = {"pc_id": "SmallWebRTCConnection#99-x", "candidates": [{"candidate": "candidate:1"}]}

    assert assert_refused(await http.patch("/api/offer", json=body), 404) == "unknown-call"


async def test_oversized_and_empty_text_is_refused(http: httpx.AsyncClient) -> None:
    assert_refused(await http.post("/api/chat", json={"text": "x" * 4001}), 413)
    assert_refused(await http.post("/api/chat", json={"text": "x" * 2_000_000}), 413)
    assert_refused(await http.post("/api/chat", json={"text": "  "}), 422)


async def test_an_unknown_session_is_refused(http: httpx.AsyncClient) -> None:
    for session_id in ("nobody", "../../etc/passwd", "x" * 300):
        response = await http.post("/api/chat", json={"text": "Hello", "session_id": session_id})
        assert assert_refused(response, 404) == "unknown-session"


async def test_a_page_of_another_origin_is_refused(service: Service, http: httpx.AsyncClient) -> None:
    response = await http.post("/api/chat", json={"text": "Hello"}, headers={"Origin": "http://evil.example"})
    assert assert_refused(response, 403) == "foreign-origin"
    with pytest.raises(Exception, match="403|1008|rejected"):
        async with connect(service.base_url.replace("http", "ws") + "/ws", origin="http://evil.example"):  # type: ignore[arg-type]
            pass


async def test_nonsense_on_the_event_stream_is_answered_and_survived(service: Service) -> None:
    stream = EventStream(service.base_url, "", None)
    await stream.open()
    for message in (
        "{",
        "[]",
        '{"type": "dance"}',
        '{"type": "user_message"}',
        '{"type": "resume", "after_seq": -1}',
    ):
        mark = len(stream.events)
        assert stream._socket is not None
        await stream._socket.send(message)
        error = await stream.kind("error", after=mark, timeout_s=5)
        assert error["code"] == "bad-message"
    mark = len(stream.events)
    await stream.send({"type": "user_message", "text": "x" * 5000})
    assert (await stream.kind("error", after=mark, timeout_s=5))["message"]
    await stream.send({"type": "user_message", "text": "What is 17 times 23?"})
    finished = await stream.kind("turn_finished", after=mark)
    await stream.close()

    assert "391" in finished["text"]


async def test_the_third_of_two_calls_is_told_busy(service: Service) -> None:
    async with calling(service.base_url), calling(service.base_url) as second:
        third = Client(service.base_url)
        with pytest.raises(Refused) as refusal:
            await third.connect()
        await third.hang_up()
        assert refusal.value.status == 503
        assert refusal.value.body["error"]["code"] == "busy"
        answer = await second.ask("tool-product")
    assert "391" in answer.reply
    async with calling(service.base_url):
        pass


def test_a_taken_port_stops_the_start_with_a_sentence(service: Service, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "TWIN_PORT": str(service.port),
        "TWIN_HOST": "127.0.0.1",
        "TWIN_TLS_PORT": "0",
        "TWIN_DATA_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-m", "pipecatapp", "serve"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode not in (0, -signal.SIGKILL)
    assert str(service.port) in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert service.is_healthy()


async def test_a_killed_client_is_noticed(service: Service) -> None:
    caller = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "testing.e2e.client", "--url", service.base_url, "--hold", "600"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert caller.stdout is not None
    line = (await asyncio.wait_for(caller.stdout.readline(), 30)).decode()
    session_id = line.split("session ")[1].split(",")[0]
    stream = EventStream(service.base_url, session_id, None)
    await stream.open()
    await asyncio.sleep(2)
    mark = len(stream.events)
    caller.kill()
    killed_s = time.perf_counter()
    ended = await stream.kind("call_ended", after=mark, timeout_s=NOTICED_S)
    noticed_s = time.perf_counter() - killed_s
    await caller.wait()
    await stream.close()

    assert ended["reason"] == "lost"
    assert noticed_s < NOTICED_S
    assert service.get("/api/status")["calls"]["active"] == 0


async def stream_chat(http: httpx.AsyncClient, text: str, session_id: str) -> AsyncIterator[tuple[str, Any]]:
    body = {"text": text, "session_id": session_id, "stream": True}
    async with http.stream("POST", "/api/chat", json=body) as response:
        name = ""
        async for line in response.aiter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, json.loads(line.removeprefix("data: "))


async def test_a_killed_llm_server_costs_one_answer_at_most(tmp_path: Path) -> None:
    service = Service(tmp_path, {"TWIN_GREETING": ""}).start()
    try:
        async with httpx.AsyncClient(base_url=service.base_url, timeout=90, trust_env=False) as http:
            first = await http.post("/api/chat", json={"text": "My dog is called Biscuit."})
            session_id = first.json()["session_id"]
            servers = [pid for pid, command in service.children() if "llama" in command]
            assert servers, service.children()
            events = []
            async for name, data in stream_chat(http, "Tell me a long story about a lighthouse.", session_id):
                events.append((name, data))
                if name == "delta" and len(events) == 4:
                    os.kill(servers[0], signal.SIGKILL)
            assert events[-1][0] in ("done", "error"), events[-1]
            assert events[-1][1].get("text") or events[-1][1].get("message")
            deadline_s = time.monotonic() + RECOVERED_S
            answer = ""
            while "paris" not in answer.lower() and time.monotonic() < deadline_s:
                await asyncio.sleep(1)
                body = {"text": "What is the capital of France?", "session_id": session_id}
                answer = (await http.post("/api/chat", json=body)).json().get("text", "")
            assert "paris" in answer.lower(), answer
            known = await http.post(
                "/api/chat", json={"text": "What is my dog called?", "session_id": session_id}
            )
            assert "biscuit" in known.json()["text"].lower()
    finally:
        service.kill()


@pytest.mark.timeout(900)
async def test_many_calls_leave_nothing_behind(service: Service) -> None:
    async def call_and_go() -> None:
        async with calling(service.base_url):
            pass

    async def at_rest() -> dict[str, float]:
        # The last call's connection is taken down in the background.
        await asyncio.sleep(5)
        status = service.get("/api/status")
        return {"rss_mb": service.rss_mb(), "files": service.open_files(), "tasks": status["tasks"]}

    for _ in range(WARM_UP):
        await call_and_go()
    before = await at_rest()
    for _ in range(CYCLES - WARM_UP):
        await call_and_go()
    after = await at_rest()

    assert after["tasks"] <= before["tasks"] + 2, (before, after)
    assert after["files"] <= before["files"] + 4, (before, after)
    assert after["rss_mb"] <= before["rss_mb"] + 15, (before, after)
