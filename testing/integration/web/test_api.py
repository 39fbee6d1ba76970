"""The HTTP interface over real sessions, with a scripted workflow and a fake memory.

It owns status codes, shapes and limits; what is answered is tested elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipecatapp.adapters.memory.state_folder import StateFolder
from pipecatapp.agent.service import TwinService
from pipecatapp.errors import AdapterError, VoiceError
from pipecatapp.ports import CallAnswer, CallOffer, CheckResult, IceCandidate, StoredTurn
from pipecatapp.settings import Settings
from pipecatapp.web.api import create_app
from pipecatapp.web.dependencies import AgentContext
from pipecatapp.web.security import MAX_BODY_BYTES
from testing.fakes.fake_clock import FakeClock
from testing.fakes.fake_memory import FakeMemory
from testing.fakes.fake_toolbox import FakeToolBox
from testing.fakes.scripted_workflow import ScriptedWorkflow

pytestmark = pytest.mark.integration


class BusyGateway:
    """A gateway that is always busy."""

    async def offer(self, offer: CallOffer) -> CallAnswer:
        raise VoiceError("busy", "I am on 4 calls already.", hint="Try again.", retryable=True, status=503)

    async def add_candidates(self, pc_id: str, candidates: Sequence[IceCandidate]) -> None:
        raise VoiceError("unknown-call", f"There is no call {pc_id!r}.", status=404)

    def status(self) -> Mapping[str, Any]:
        return {"active": 4, "limit": 4, "sessions": []}

    async def say(self, session_id: str, text: str) -> bool:
        return False

    async def close(self) -> None:
        return None


async def say(text: str) -> bytes:
    return b"RIFF" + text.encode()


@pytest.fixture
def workflow() -> ScriptedWorkflow:
    return ScriptedWorkflow(["Hello ", "there."])


EXPERTS = {"source": "nobody", "stale": False, "experts": []}


@pytest.fixture
def memory() -> FakeMemory:
    return FakeMemory()


@pytest.fixture
def checks() -> dict[str, CheckResult]:
    return {"llm": CheckResult(True, "answered")}


@pytest.fixture
async def client(
    tmp_path: Path, workflow: ScriptedWorkflow, memory: FakeMemory, checks: dict[str, CheckResult]
) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(TWIN_DATA_DIR=tmp_path, TWIN_MAX_TEXT_CHARS=100)  # type: ignore[call-arg]
    service = TwinService(workflow, memory, FakeClock(), settings, StateFolder(settings.data_dir / "states"))
    context = AgentContext(
        settings=settings,
        service=service,
        calls=BusyGateway(),
        toolbox=FakeToolBox(),
        checks=lambda: checks,
        describe=dict,
        experts=lambda: EXPERTS,
        speak=say,
        allowed_hosts=lambda: {"twin"},
    )
    transport = httpx.ASGITransport(create_app(context), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://twin:8000") as http:
        yield http
    await service.close()


async def test_experts_are_listed_as_the_agent_tells_them(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/experts")).json() == EXPERTS


async def test_a_text_is_answered_in_a_new_session(client: httpx.AsyncClient) -> None:
    reply = (await client.post("/api/chat", json={"text": "hi"})).json()
    assert reply["text"] == "Hello there."
    assert reply["interrupted"] is False
    assert set(reply) == {"session_id", "text", "interrupted", "tool_calls", "latency_ms"}


async def test_a_session_goes_on(client: httpx.AsyncClient, workflow: ScriptedWorkflow) -> None:
    first = (await client.post("/api/chat", json={"text": "hi"})).json()
    await client.post("/api/chat", json={"text": "again", "session_id": first["session_id"]})
    history = workflow.inputs[1]["history"]
    assert [message.content for message in history] == ["hi", "Hello there."]


async def test_a_stream_has_start_deltas_and_done(client: httpx.AsyncClient) -> None:
    response = await client.post("/api/chat", json={"text": "hi", "stream": True})
    events = [block.split("\n") for block in response.text.strip().split("\n\n")]
    names = [lines[0].removeprefix("event: ") for lines in events]
    assert names == ["start", "delta", "delta", "done"]
    assert json.loads(events[-1][1].removeprefix("data: "))["text"] == "Hello there."


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"text": ""}, 422, "empty-text"),
        ({"text": "x" * 101}, 413, "text-too-long"),
        ({"text": "hi", "session_id": "nobody"}, 404, "unknown-session"),
        ({"text": "hi", "session_id": "../../etc/passwd"}, 404, "unknown-session"),
        ({"text": "hi", "colour": "red"}, 422, "bad-request"),
        ({}, 422, "bad-request"),
    ],
)
async def test_bad_texts_are_refused_in_words(
    client: httpx.AsyncClient, body: dict[str, Any], status: int, code: str
) -> None:
    response = await client.post("/api/chat", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert response.json()["error"]["message"]


async def test_a_huge_body_is_refused_before_it_is_read(client: httpx.AsyncClient) -> None:
    response = await client.post("/api/chat", content=b"x" * (MAX_BODY_BYTES + 1))
    assert (response.status_code, response.json()["error"]["code"]) == (413, "too-large")


async def test_a_foreign_page_may_not_speak_to_twin(client: httpx.AsyncClient) -> None:
    foreign = await client.post("/api/chat", json={"text": "hi"}, headers={"Origin": "http://evil.example"})
    own = await client.post("/api/chat", json={"text": "hi"}, headers={"Origin": "http://twin:8000"})
    assert (foreign.status_code, own.status_code) == (403, 200)


async def test_a_page_whose_name_was_made_to_lead_here_is_refused(client: httpx.AsyncClient) -> None:
    rebound = {"Host": "evil.example:8000", "Origin": "http://evil.example:8000"}
    for method, path in (
        ("GET", "/"),
        ("GET", "/health"),
        ("GET", "/api/memory"),
        ("DELETE", "/api/memory"),
        ("POST", "/api/chat"),
        ("POST", "/api/state/load"),
        ("GET", "/ca.crt"),
    ):
        reply = await client.request(method, path, headers=rebound)
        assert (reply.status_code, reply.json()["error"]["code"]) == (421, "unknown-name"), path
        assert "TWIN_HOST_NAMES" in reply.json()["error"]["hint"]


async def test_busy_is_503_with_retry_after(client: httpx.AsyncClient) -> None:
    response = await client.post("/api/offer", json={"sdp": "v=0", "type": "offer"})
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert response.json()["error"]["code"] == "busy"


async def test_a_refused_caller_hears_why(client: httpx.AsyncClient) -> None:
    response = await client.get("/api/offer/busy.wav")
    assert response.headers["content-type"] == "audio/wav"
    assert b"busy" in response.content


@pytest.mark.parametrize("body", [{"sdp": "", "type": "offer"}, {"sdp": "v=0", "type": "answer"}, {}])
async def test_an_offer_of_the_wrong_shape_is_422(client: httpx.AsyncClient, body: dict[str, str]) -> None:
    assert (await client.post("/api/offer", json=body)).status_code == 422


async def test_health_names_what_is_missing(
    client: httpx.AsyncClient, checks: dict[str, CheckResult]
) -> None:
    assert (await client.get("/health")).json()["status"] == "ok"
    checks["tts"] = CheckResult(False, "the voice is loading")
    response = await client.get("/health")
    assert response.status_code == 503
    assert "the voice is loading" in response.json()["error"]["message"]


async def test_memory_is_listed_searched_and_forgotten(client: httpx.AsyncClient, memory: FakeMemory) -> None:
    fact = await memory.add_fact("My dog is called Biscuit.")
    listed = (await client.get("/api/memory")).json()["facts"]
    assert [item["text"] for item in listed] == ["My dog is called Biscuit."]
    assert (await client.get("/api/memory", params={"q": "dog"})).json()["facts"]
    assert (await client.delete(f"/api/memory/{fact.id}")).json() == {"deleted": 1}
    assert (await client.delete(f"/api/memory/{fact.id}")).status_code == 404


async def test_state_is_saved_and_loaded(client: httpx.AsyncClient, memory: FakeMemory) -> None:
    await memory.add_fact("My dog is called Biscuit.")
    await memory.append_turn(
        "s1",
        StoredTurn(turn_id="t1", user_text="hi", assistant_text="hello", interrupted=False, created_s=1.0),
    )
    assert (await client.post("/api/state/save", json={"name": "monday"})).status_code == 200
    await client.delete("/api/memory")
    loaded = (await client.post("/api/state/load", json={"name": "monday"})).json()
    assert (loaded["facts"], loaded["conversations"]) == (1, 1)
    assert [state["name"] for state in (await client.get("/api/state")).json()["states"]] == ["monday"]


@pytest.mark.parametrize("name", ["../evil", "", "a/b"])
async def test_a_state_has_a_plain_name(client: httpx.AsyncClient, name: str) -> None:
    response = await client.post("/api/state/save", json={"name": name})
    assert response.status_code in (400, 422)
    assert response.json()["error"]["message"]


async def test_every_answer_has_security_headers(client: httpx.AsyncClient) -> None:
    headers = (await client.get("/")).headers
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


async def test_the_ca_is_handed_out_when_there_is_one(client: httpx.AsyncClient, tmp_path: Path) -> None:
    assert (await client.get("/ca.crt")).status_code == 404
    (tmp_path / "tls").mkdir()
    (tmp_path / "tls" / "ca.crt").write_text("certificate")
    assert (await client.get("/ca.crt")).text == "certificate"


async def test_a_bug_is_told_without_a_stack_trace(
    client: httpx.AsyncClient, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(memory, "list_facts", broken)
    response = await client.get("/api/memory")
    assert response.status_code == 500
    assert "secret" not in response.text


async def test_a_store_that_fails_is_told_in_words(
    client: httpx.AsyncClient, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> None:
        raise AdapterError("store-failed", "The memory's file is full.", hint="Make room.")

    monkeypatch.setattr(memory, "list_facts", broken)
    response = await client.get("/api/memory")
    assert (response.status_code, response.json()["error"]["hint"]) == (503, "Make room.")
