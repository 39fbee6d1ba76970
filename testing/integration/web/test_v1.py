"""The gateway over HTTP: who is let in, who is asked, and what becomes of an answer that fails."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from pipecatapp.adapters.audio.codec import PyAvCodec
from pipecatapp.adapters.host.api_key_file import FileApiKeyStore
from pipecatapp.adapters.http.stream_client import HttpConnectionPool
from pipecatapp.adapters.llm.llama_errors import parse_rejection
from pipecatapp.adapters.stt.chunking import pcm_chunks
from pipecatapp.gateway.api_keys import create_key
from pipecatapp.gateway.audio import Synthesizer, Transcriber
from pipecatapp.gateway.proxy import UpstreamProxy
from pipecatapp.gateway.rate_limits import RateLimiter
from pipecatapp.gateway.service import Gateway
from pipecatapp.gateway.tool_emulation import ToolPrompts
from pipecatapp.gateway.upstreams import DEFAULT, Upstream
from pipecatapp.web.errors import install_error_handlers
from pipecatapp.web.routes.v1 import V1
from pipecatapp.web.security import MAX_GATEWAY_BYTES, SecurityMiddleware
from pipecatapp.web.serving import Listener, Servers, bind
from testing.e2e.processes import eventually
from testing.fakes.fake_clock import FakeClock
from testing.fakes.fake_embedder import FakeEmbedder
from testing.fakes.fake_stt import FakeStt
from testing.fakes.fake_tts import FakeTts
from testing.fakes.openai_server import UNTAKEN
from testing.fakes.raw_upstream import CUT, OK, RawUpstream, chunk, event, serving, stream, whole

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

CHAT = {"model": "main", "messages": [{"role": "user", "content": "a secret question"}]}
ANSWER = {
    "choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}],
    "usage": {"total_tokens": 50},
}
STREAMED = {"stream": True, "stream_options": {"include_usage": True}}
"""What a request for a whole answer has when it reaches llama.cpp."""
SOON_S = 10.0


@dataclass
class Seen:
    """What became of requests to all servers."""

    under_way: int = 0
    answered: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Noted:
    """What becomes of requests to one server."""

    name: str
    seen: Seen

    def on_request(self) -> None:
        self.seen.under_way += 1

    def on_first_token(self) -> None:
        self.seen.answered.append(self.name)

    def on_error(self) -> None:
        self.seen.failed.append(self.name)

    def on_done(self) -> None:
        self.seen.under_way -= 1


@dataclass
class Listed:
    """Upstreams in the order they were written down."""

    servers: dict[str, Sequence[Upstream]]

    def experts(self) -> Sequence[str]:
        return [name for name, servers in self.servers.items() if servers]

    def for_expert(self, expert: str) -> Sequence[Upstream]:
        return self.servers.get("main" if expert == DEFAULT else expert, ())

    def is_known(self, expert: str) -> bool:
        return expert in self.servers


@dataclass
class House:
    """A gateway that runs, and what it stands on."""

    url: str
    gateway: Gateway
    upstreams: Listed
    seen: Seen
    clock: FakeClock
    keys: FileApiKeyStore

    def client(self, **headers: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, headers=headers, trust_env=False, timeout=SOON_S)

    async def key(self, name: str = "program", requests: int = 0, tokens: int = 0) -> str:
        secret, _ = await create_key(
            self.keys, self.clock, name, requests_per_minute=requests, tokens_per_minute=tokens
        )
        return secret


@asynccontextmanager
async def house(folder: Path, *servers: RawUpstream, **others: RawUpstream) -> AsyncIterator[House]:
    """Run a gateway whose `main` is asked at `servers`, one after the other."""
    async with AsyncExitStack() as stack:
        seen = Seen()

        async def up(name: str, server: RawUpstream) -> Upstream:
            await stack.enter_async_context(serving(server))
            noted = Noted(name, seen)
            return Upstream(base_url=server.url, name=name, api_key="the-server's-key", observer=noted)

        main = [await up(f"server {number}", server) for number, server in enumerate(servers, 1)]
        named = {name: [await up(name, server)] for name, server in others.items()}
        stt = FakeStt([f"Part {number}." for number in range(1, 9)])
        upstreams, clock, keys = Listed({"main": main, **named}), FakeClock(), FileApiKeyStore(folder)
        gateway = Gateway(
            keys=keys,
            limiter=RateLimiter(clock),
            proxy=UpstreamProxy(upstreams, HttpConnectionPool(), parse_rejection),
            embedder=FakeEmbedder(),
            transcriber=Transcriber(stt, PyAvCodec(), pcm_chunks),
            synthesizer=Synthesizer(FakeTts(), PyAvCodec()),
            tool_prompts=ToolPrompts("Name a tool.", "Words.", [("Hello!", "Hi.")]),
        )
        stack.push_async_callback(gateway.close)
        app = FastAPI()
        install_error_handlers(app)
        app.add_middleware(V1, gateway=gateway)
        app.add_middleware(SecurityMiddleware, names=lambda: {"twin"})
        listener = Listener(bind("127.0.0.1", 0, "TWIN_PORT"))
        running = Servers(app, [listener], logs_requests=False)
        task = asyncio.create_task(running.run())
        try:
            yield House(listener.url, gateway, upstreams, seen, clock, keys)
        finally:
            running.stop()
            await task


def error_of(response: httpx.Response) -> dict[str, Any]:
    """Return an error after checking that it has OpenAI's shape."""
    body = response.json()
    assert set(body) == {"error"} and set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["message"]
    return dict(body["error"])


async def test_an_answer_comes_back_as_it_was_given(tmp_path: Path) -> None:
    server = RawUpstream(whole(ANSWER))
    async with house(tmp_path, server) as it, it.client() as http:
        response = await http.post("/v1/chat/completions", json=CHAT)
    assert (response.status_code, response.json()) == (200, ANSWER)
    path, headers, body = server.requests[0]
    assert (path, json.loads(body)) == ("/v1/chat/completions", {**CHAT, **STREAMED})
    assert headers["authorization"] == "Bearer the-server's-key"


async def test_a_stream_comes_back_byte_by_byte(tmp_path: Path) -> None:
    events = [event("one "), event("two"), event("", "stop")]
    async with house(tmp_path, RawUpstream(stream(*events))) as it, it.client() as http:
        response = await http.post("/v1/chat/completions", json={**CHAT, "stream": True})
        assert it.seen.under_way == 0
    assert response.headers["content-type"] == "text/event-stream"
    assert response.content == b"".join(events) + b"data: [DONE]\n\n"


async def test_the_first_piece_does_not_wait_for_the_last(tmp_path: Path) -> None:
    server = RawUpstream(stream(event("one"), event("two")), pause_s=0.3)
    async with (
        house(tmp_path, server) as it,
        it.client() as http,
        http.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}) as response,
    ):
        pieces = [piece async for piece in response.aiter_raw()]
    assert pieces[0] == event("one") and len(pieces) == 3


async def test_a_connection_is_used_again(tmp_path: Path) -> None:
    server = RawUpstream(stream(event("one")))
    async with house(tmp_path, server) as it, it.client() as http:
        for _ in range(3):
            await http.post("/v1/chat/completions", json={**CHAT, "stream": True})
    assert (len(server.requests), server.connections) == (3, 1)


async def test_a_connection_that_went_stale_is_made_anew(tmp_path: Path) -> None:
    first = RawUpstream([*stream(event("one")), CUT])
    async with house(tmp_path, first) as it, it.client() as http:
        for _ in range(3):
            response = await http.post("/v1/chat/completions", json={**CHAT, "stream": True})
            assert response.status_code == 200
    assert first.connections == 3 and it.seen.failed == []


@pytest.mark.parametrize(
    "broken",
    [
        [CUT],
        whole({"error": {"message": "loading"}}, 503),
        whole({"error": {"message": "who are you"}}, 401),
        [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", CUT],
        [OK, CUT],
        [b"nonsense\r\n\r\n"],
        [OK, b"zz\r\n"],
    ],
)
@pytest.mark.parametrize("is_stream", [False, True])
async def test_the_next_server_is_asked_when_one_fails_before_its_first_byte(
    tmp_path: Path, broken: list[bytes], is_stream: bool
) -> None:
    good = RawUpstream(stream(event("from the second")) if is_stream else whole(ANSWER))
    async with house(tmp_path, RawUpstream(broken), good) as it, it.client() as http:
        response = await http.post("/v1/chat/completions", json={**CHAT, "stream": is_stream})
        assert it.seen.under_way == 0
    assert response.status_code == 200
    assert it.seen.failed == ["server 1"] and len(good.requests) == 1


async def test_a_whole_answer_that_breaks_off_is_asked_of_the_next(tmp_path: Path) -> None:
    half = RawUpstream([b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", CUT])
    async with house(tmp_path, half, RawUpstream(whole(ANSWER))) as it, it.client() as http:
        response = await http.post("/v1/chat/completions", json=CHAT)
    assert (response.status_code, response.json()) == (200, ANSWER)


async def test_a_server_that_is_gone_is_passed_over(tmp_path: Path) -> None:
    good = RawUpstream(whole(ANSWER))
    async with house(tmp_path, good) as it, it.client() as http:
        gone = Upstream(base_url="http://127.0.0.1:9/v1", name="gone", observer=Noted("gone", it.seen))
        it.upstreams.servers["main"] = [gone, *it.upstreams.servers["main"]]
        response = await http.post("/v1/chat/completions", json=CHAT)
    assert response.status_code == 200 and it.seen.failed == ["gone"]


async def test_a_request_that_is_wrong_is_not_asked_of_another(tmp_path: Path) -> None:
    refusal = {"error": {"message": "the prompt is too long", "param": "messages"}}
    second = RawUpstream(whole(ANSWER))
    async with house(tmp_path, RawUpstream(whole(refusal, 400)), second) as it, it.client() as http:
        response = await http.post("/v1/chat/completions", json=CHAT)
    error = error_of(response)
    assert (response.status_code, error["message"], error["param"]) == (
        400,
        "the prompt is too long",
        "messages",
    )
    assert second.requests == [] and it.seen.failed == []


@pytest.mark.parametrize("is_stream", [False, True])
async def test_what_two_servers_cannot_take_is_the_callers_fault_and_no_servers(
    tmp_path: Path, is_stream: bool
) -> None:
    servers = [RawUpstream(whole(UNTAKEN, 500)), RawUpstream(whole(UNTAKEN, 500)), RawUpstream(whole(ANSWER))]
    async with house(tmp_path, *servers) as it, it.client() as http:
        response = await http.post("/v1/chat/completions", json={**CHAT, "stream": is_stream})
        assert it.seen.under_way == 0
    error = error_of(response)
    assert (response.status_code, error["type"], error["message"]) == (
        400,
        "invalid_request_error",
        "Cannot use both json_schema and grammar",
    )
    assert [len(server.requests) for server in servers] == [1, 1, 0] and it.seen.failed == []


async def test_what_one_server_cannot_take_another_may(tmp_path: Path) -> None:
    blind = whole({"error": {**UNTAKEN["error"], "message": "image input is not supported"}}, 500)
    servers = [RawUpstream(blind), RawUpstream(whole(UNTAKEN, 500)), RawUpstream(whole(ANSWER))]
    async with house(tmp_path, *servers) as it, it.client() as http:
        response = await http.post("/v1/chat/completions", json=CHAT)
    assert (response.status_code, response.json()) == (200, ANSWER) and it.seen.failed == []


@pytest.mark.parametrize("others", [[], [RawUpstream([CUT])]])
async def test_what_a_server_cannot_take_is_told_when_no_other_answers(
    tmp_path: Path, others: list[RawUpstream]
) -> None:
    async with house(tmp_path, RawUpstream(whole(UNTAKEN, 500)), *others) as it, it.client() as http:
        response = await http.post("/v1/chat/completions", json=CHAT)
    words = UNTAKEN["error"]["message"]
    assert (response.status_code, error_of(response)["message"]) == (400, words)
    assert "server 1" not in it.seen.failed


@pytest.mark.parametrize(
    "error",
    [
        {**UNTAKEN["error"], "message": "Compute error."},
        {"message": "The server had an error", "type": "server_error", "param": None, "code": None},
        {"message": "out of memory", "type": "InternalServerError", "param": None, "code": 500},
        "no object",
    ],
)
async def test_a_server_that_fails_is_passed_over_whatever_it_says(tmp_path: Path, error: Any) -> None:
    servers = [RawUpstream(whole({"error": error}, 500)), RawUpstream(whole(ANSWER))]
    async with house(tmp_path, *servers) as it, it.client() as http:
        response = await http.post("/v1/chat/completions", json=CHAT)
    assert response.status_code == 200 and it.seen.failed == ["server 1"]


async def test_when_nobody_answers_the_caller_is_told(tmp_path: Path) -> None:
    async with house(tmp_path, RawUpstream([CUT]), RawUpstream([CUT])) as it, it.client() as http:
        response = await http.post("/v1/chat/completions", json=CHAT)
    assert response.status_code == 503 and int(response.headers["retry-after"]) > 0
    assert error_of(response)["type"] == "server_error"


@pytest.mark.parametrize("end", [[CUT], [b"40\r\ndata: half of it", CUT]])
async def test_a_stream_that_breaks_off_ends_with_an_error_event(tmp_path: Path, end: list[bytes]) -> None:
    second = RawUpstream(stream(event("never")))
    broken = RawUpstream([OK, chunk(event("half ")), *end], pause_s=0.05)
    async with house(tmp_path, broken, second) as it, it.client() as http:
        response = await http.post("/v1/chat/completions", json={**CHAT, "stream": True})
    lines = [line for line in response.text.split("\n") if line.startswith("data:")]
    error = json.loads(lines[-1].removeprefix("data: "))["error"]
    assert (error["code"], error["type"]) == ("upstream-broke-off", "server_error")
    assert "[DONE]" not in response.text
    assert second.requests == [] and it.seen.failed == ["server 1"]


WRITING = [OK, *(chunk(event("word ")) for _ in range(500))]
READING = [b"HTTP/1.1 "] * 500
"""A server that is still at the prompt: a head that never ends."""


@pytest.mark.parametrize(("answer", "is_stream"), [(WRITING, True), (READING, True), (READING, False)])
async def test_a_caller_who_leaves_stops_the_model(
    tmp_path: Path, answer: list[bytes], is_stream: bool
) -> None:
    server = RawUpstream(answer, pause_s=0.05)
    async with house(tmp_path, server) as it:
        async with it.client() as http:
            asking = asyncio.create_task(
                http.post("/v1/chat/completions", json={**CHAT, "stream": is_stream})
            )
            await eventually(lambda: len(server.requests) == 1, SOON_S)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        await eventually(lambda: server.dropped == 1, SOON_S)
        await eventually(lambda: it.seen.under_way == 0, SOON_S)


async def test_thirty_two_streams_run_side_by_side(tmp_path: Path) -> None:
    server = RawUpstream(stream(*(event(f"{number} ") for number in range(20))), pause_s=0.01)
    async with house(tmp_path, server) as it, it.client() as http:
        posts = [http.post("/v1/chat/completions", json={**CHAT, "stream": True}) for _ in range(32)]
        answers = await asyncio.gather(*posts)
    assert {answer.content for answer in answers} == {
        b"".join(event(f"{n} ") for n in range(20)) + b"data: [DONE]\n\n"
    }


async def test_an_expert_is_asked_by_its_name(tmp_path: Path) -> None:
    main, coding = RawUpstream(whole(ANSWER)), RawUpstream(whole(ANSWER))
    async with house(tmp_path, main, coding=coding) as it, it.client() as http:
        await http.post("/v1/chat/completions", json={**CHAT, "model": "coding"})
        await http.post("/v1/completions", json={"model": "default", "prompt": "Once"})
        listed = (await http.get("/v1/models")).json()
        one = (await http.get("/v1/models/coding")).json()
        nobody = await http.post("/v1/chat/completions", json={**CHAT, "model": "nobody"})
    assert (len(main.requests), len(coding.requests)) == (1, 1)
    assert main.requests[0][0] == "/v1/completions"
    assert [model["id"] for model in listed["data"]] == ["main", "coding"] and one["id"] == "coding"
    error = error_of(nobody)
    assert (nobody.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")
    assert "default, main, coding" in error["message"]


async def test_an_expert_that_does_not_pass_now_is_503_with_the_time_to_come_back(tmp_path: Path) -> None:
    async with house(tmp_path, RawUpstream(whole(ANSWER))) as it, it.client() as http:
        it.upstreams.servers["coding"] = []
        response = await http.post("/v1/chat/completions", json={**CHAT, "model": "coding"})
    error = error_of(response)
    assert (response.status_code, error["type"], error["code"]) == (503, "server_error", "no_expert")
    assert int(response.headers["retry-after"]) > 0


async def test_no_expert_at_all_is_503(tmp_path: Path) -> None:
    async with house(tmp_path) as it, it.client() as http:
        response = await http.post("/v1/chat/completions", json=CHAT)
    assert (response.status_code, error_of(response)["code"]) == (503, "no_expert")


async def test_a_key_lets_in_from_elsewhere_and_no_key_does_not(tmp_path: Path) -> None:
    async with house(tmp_path, RawUpstream(whole(ANSWER))) as it:
        secret = await it.key()
        # What the front of a house adds: the address of the caller as it sees it.
        elsewhere = {"X-Forwarded-For": "127.0.0.1, 192.168.1.50"}
        async with it.client(**elsewhere) as http:
            bare = await http.get("/v1/models")
            wrong = await http.get("/v1/models", headers={"Authorization": "Bearer twin-wrong"})
            good = await http.get("/v1/models", headers={"Authorization": f"Bearer {secret}"})
    assert (bare.status_code, wrong.status_code, good.status_code) == (401, 401, 200)
    assert error_of(bare)["type"] == "authentication_error" and error_of(wrong)["code"] == "invalid_api_key"
    assert bare.headers["www-authenticate"] == "Bearer"


async def test_a_program_on_this_machine_needs_no_key(tmp_path: Path) -> None:
    async with house(tmp_path, RawUpstream(whole(ANSWER))) as it, it.client() as http:
        assert (await http.get("/v1/models")).status_code == 200
        assert (await http.get("/v1/models", headers={"Authorization": "Bearer none"})).status_code == 200


async def test_a_key_that_was_revoked_is_good_nowhere(tmp_path: Path) -> None:
    async with house(tmp_path, RawUpstream(whole(ANSWER))) as it:
        secret = await it.key()
        async with it.client(Authorization=f"Bearer {secret}") as http:
            assert (await http.get("/v1/models")).status_code == 200
            (key,) = it.keys.known().values()
            assert await FileApiKeyStore(tmp_path).remove(key.id), (
                "as `twin api-keys revoke` does it, in another process"
            )
            assert (await http.get("/v1/models")).status_code == 401


async def test_a_page_by_another_name_is_not_this_machine(tmp_path: Path) -> None:
    async with house(tmp_path, RawUpstream(whole(ANSWER))) as it:
        async with it.client(Host="twin") as http:
            assert (await http.get("/v1/models")).status_code == 401
        async with it.client(Host="evil.example") as http:
            refused = await http.get("/v1/models")
    assert refused.status_code == 421
    assert "TWIN_HOST_NAMES" in error_of(refused)["message"]


async def test_a_limit_is_told_with_the_time_to_wait(tmp_path: Path) -> None:
    async with house(tmp_path, RawUpstream(whole(ANSWER))) as it:
        secret = await it.key(requests=2, tokens=40)
        async with it.client(Authorization=f"Bearer {secret}") as http:
            first = await http.post("/v1/chat/completions", json=CHAT)
            second = await http.post("/v1/chat/completions", json=CHAT)
            it.clock.advance(16)
            third = await http.post("/v1/chat/completions", json=CHAT)
    assert first.status_code == 200 and first.headers["x-ratelimit-limit-tokens"] == "40"
    assert (second.status_code, error_of(second)["type"]) == (429, "rate_limit_error")
    assert "40 tokens" in error_of(second)["message"] and int(second.headers["retry-after"]) == 17
    assert third.status_code == 429
    assert third.headers["retry-after"] == "1"


async def test_a_streams_tokens_are_counted(tmp_path: Path) -> None:
    last = b'data: {"choices":[],"usage":{"total_tokens":1000}}\n\n'
    async with house(tmp_path, RawUpstream(stream(event("one"), last))) as it:
        secret = await it.key(tokens=100)
        async with it.client(Authorization=f"Bearer {secret}") as http:
            await http.post("/v1/chat/completions", json={**CHAT, "stream": True})
            assert (await http.get("/v1/models")).status_code == 429


async def pieces_of(size_bytes: int) -> AsyncIterator[bytes]:
    """Yield a body of some size, whose length is told only where a header tells it."""
    piece = bytes(64 * 1024)
    for start in range(0, size_bytes, len(piece)):
        yield piece[: size_bytes - start]


async def test_errors_have_openais_shape(tmp_path: Path) -> None:
    async with house(tmp_path, RawUpstream(whole(ANSWER))) as it, it.client() as http:
        unknown = await http.get("/v1/nothing")
        wrong_method = await http.get("/v1/chat/completions")
        no_json = await http.post("/v1/chat/completions", content=b"hello")
        foreign = await http.get("/v1/models", headers={"Origin": "http://evil.example"})
        large = await http.post("/v1/chat/completions", content=b"x" * (MAX_GATEWAY_BYTES + 1))
        endless = await http.post("/v1/chat/completions", content=pieces_of(MAX_GATEWAY_BYTES + 1))
    statuses = [r.status_code for r in (unknown, wrong_method, no_json, foreign, large, endless)]
    assert statuses == [404, 405, 400, 403, 413, 413]
    assert "/v1/chat/completions" in error_of(unknown)["message"]
    assert all(error_of(response) for response in (wrong_method, no_json, foreign, large, endless))


async def test_a_bug_is_told_in_openais_shape_without_a_stack_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with house(tmp_path, RawUpstream(whole(ANSWER))) as it, it.client() as http:

        def broken() -> Sequence[str]:
            raise RuntimeError("secret detail")

        monkeypatch.setattr(it.upstreams, "experts", broken)
        response = await http.get("/v1/models")
    assert response.status_code == 500 and error_of(response)["code"] == "internal"
    assert "secret" not in response.text


async def test_keys_that_cannot_be_read_let_nobody_in(tmp_path: Path) -> None:
    async with house(tmp_path, RawUpstream(whole(ANSWER))) as it:
        secret = await it.key()
        (tmp_path / "gateway-keys.json").write_text("{broken")
        async with it.client(Authorization=f"Bearer {secret}") as http:
            response = await http.get("/v1/models")
    assert (response.status_code, error_of(response)["code"]) == (503, "keys-unreadable")


async def test_neither_key_nor_prompt_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with house(tmp_path, RawUpstream([CUT]), RawUpstream([OK, chunk(event("half")), CUT])) as it:
        secret = await it.key()
        async with it.client(Authorization=f"Bearer {secret}") as http:
            await http.post("/v1/chat/completions", json={**CHAT, "stream": True})
            await http.post("/v1/chat/completions", json=CHAT)
    told = "\n".join(str(vars(record)) for record in caplog.records if record.name.startswith("pipecatapp"))
    assert "An expert does not answer" in told
    assert secret not in told and "secret question" not in told and "the-server's-key" not in told


async def test_embeddings_come_as_numbers_or_packed(tmp_path: Path) -> None:
    import base64

    import numpy as np

    async with house(tmp_path) as it, it.client() as http:
        plain = (
            await http.post("/v1/embeddings", json={"model": "default", "input": ["a dog", "a cat"]})
        ).json()
        body = {"model": "fake embedder", "input": "a dog", "encoding_format": "base64"}
        packed = (await http.post("/v1/embeddings", json=body)).json()
    assert [item["index"] for item in plain["data"]] == [0, 1] and plain["usage"]["total_tokens"] == 4
    unpacked = np.frombuffer(base64.b64decode(packed["data"][0]["embedding"]), "<f4")
    assert np.allclose(unpacked, plain["data"][0]["embedding"])


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": [1, 2]}, "input"),
        ({"input": " "}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": "a", "model": 7}, "model"),
        ({"input": "a", "dimensions": 7}, "dimensions"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
    ],
)
async def test_wrong_embeddings_are_refused_with_their_parameter(
    tmp_path: Path, fields: dict[str, Any], param: str
) -> None:
    async with house(tmp_path) as it, it.client() as http:
        response = await http.post("/v1/embeddings", json=fields)
    assert (response.status_code, error_of(response)["param"]) == (400, param)


TOOL = {"type": "function", "function": {"name": "set_timer", "parameters": {"type": "object"}}}


async def test_a_call_comes_back_as_tool_calls(tmp_path: Path) -> None:
    text = '{"tool": "set_timer", "arguments": {"minutes": 5}}'
    answer = {"id": "x", "choices": [{"message": {"content": text}, "finish_reason": "stop"}]}
    server = RawUpstream(whole(answer))
    async with house(tmp_path, server) as it, it.client() as http:
        choice = (await http.post("/v1/chat/completions", json={**CHAT, "tools": [TOOL]})).json()["choices"][
            0
        ]
    (call,) = choice["message"]["tool_calls"]
    assert call["function"] == {"name": "set_timer", "arguments": '{"minutes": 5}'}
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
    sent = json.loads(server.requests[0][2])
    assert "tools" not in sent and sent["response_format"]["type"] == "json_schema"


async def test_a_call_is_streamed_as_tool_calls(tmp_path: Path) -> None:
    parts = ['{"tool": "set_', 'timer", "argum', 'ents": {"min', 'utes": 5}}']
    usage = b'data: {"choices":[],"usage":{"total_tokens":9}}\n\n'
    server = RawUpstream(stream(*map(event, parts), event("", "stop"), usage))
    body = {**CHAT, "tools": [TOOL], "stream": True, "stream_options": {"include_usage": True}}
    async with house(tmp_path, server) as it, it.client() as http:
        text = (await http.post("/v1/chat/completions", json=body)).text
    events = [json.loads(line[6:]) for line in text.split("\n") if line.startswith("data: {")]
    deltas = [event["choices"][0]["delta"] for event in events if event["choices"]]
    calls = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert calls[0]["function"]["name"] == "set_timer" and calls[0]["id"].startswith("call_")
    assert "".join(call["function"]["arguments"] for call in calls) == '{"minutes": 5}'
    assert events[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert events[-1]["usage"] == {"total_tokens": 9} and text.endswith("data: [DONE]\n\n")


async def test_a_streamed_call_that_breaks_off_ends_with_an_error_event(tmp_path: Path) -> None:
    broken = RawUpstream([OK, chunk(event('{"tool": "set_timer", "arguments": {"min')), CUT], pause_s=0.05)
    async with house(tmp_path, broken) as it, it.client() as http:
        text = (await http.post("/v1/chat/completions", json={**CHAT, "tools": [TOOL], "stream": True})).text
    assert '"error"' in text.strip().split("\n")[-1] and "[DONE]" not in text
