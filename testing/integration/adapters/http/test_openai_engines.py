"""The OpenAI-compatible engines over real HTTP: the ports' suites, and every way a server can fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import numpy as np
import pytest

from pipecatapp.adapters.embed.openai import OpenAiEmbedder
from pipecatapp.adapters.llm.openai_chat import OpenAiLlm
from pipecatapp.adapters.stt.openai import OpenAiStt
from pipecatapp.adapters.tts.openai import OpenAiTts
from pipecatapp.errors import AdapterError
from pipecatapp.ports import ChatRequest, Message
from testing.conformance.embedder_suite import EmbedderSuite
from testing.conformance.llm_suite import COUNT, collect, text_of
from testing.conformance.stt_suite import SttSuite, Utterance
from testing.conformance.tts_suite import TtsSuite, speak
from testing.fakes.fake_embedder import FakeEmbedder
from testing.fakes.fake_llm import FakeLlm
from testing.fakes.fake_stt import FakeStt
from testing.fakes.fake_tts import FakeTts
from testing.fakes.openai_server import KEY, OpenAiServer, serving

pytestmark = pytest.mark.integration

TEXT = "what is the capital of france"
TONE = (9000 * np.sin(np.arange(16_000) * 0.1)).astype("<i2").tobytes()


@pytest.fixture
def server() -> Iterator[OpenAiServer]:
    engines = OpenAiServer(FakeStt([TEXT] * 9), FakeTts(rate_hz=24_000), FakeEmbedder())
    with serving(engines):
        yield engines


class TestOpenAiStt(SttSuite):
    @pytest.fixture
    async def stt(self, server: OpenAiServer) -> AsyncIterator[OpenAiStt]:
        engine = OpenAiStt(server.url, "whisper-1", KEY)
        yield engine
        await engine.close()

    @pytest.fixture
    def spoken(self) -> list[Utterance]:
        return [Utterance(TONE * 3, TEXT)]

    async def test_more_than_thirty_seconds_lose_nothing(
        self, stt: OpenAiStt, server: OpenAiServer, spoken: list[Utterance]
    ) -> None:
        await stt.transcribe(TONE * 42, final=True)
        assert isinstance(server.stt, FakeStt)
        assert server.stt.heard_s == [42.0]

    async def test_the_form_is_openais(self, stt: OpenAiStt, server: OpenAiServer) -> None:
        await stt.transcribe(TONE, final=True)
        wanted = {"model": "whisper-1", "response_format": "json", "temperature": "0", "language": "en"}
        assert server.requests == [("/v1/audio/transcriptions", wanted)]


class TestOpenAiTts(TtsSuite):
    @pytest.fixture
    async def tts(self, server: OpenAiServer) -> AsyncIterator[OpenAiTts]:
        engine = OpenAiTts(server.url, api_key=KEY)
        yield engine
        await engine.close()


class TestOpenAiEmbedder(EmbedderSuite):
    @pytest.fixture
    async def embedder(self, server: OpenAiServer) -> AsyncIterator[OpenAiEmbedder]:
        engine = await OpenAiEmbedder.load(server.url, "text-embedding-3-small", KEY)
        yield engine
        await engine.close()


async def ask_llm(url: str, key: str, timeout_s: float) -> None:
    engine = OpenAiLlm(url, "model", key, name="the LLM", request_timeout_s=timeout_s)
    try:
        await collect(engine, ChatRequest(messages=(COUNT,)))
    finally:
        await engine.close()


async def ask_stt(url: str, key: str, timeout_s: float) -> None:
    engine = OpenAiStt(url, "model", key, timeout_s=timeout_s)
    try:
        await engine.transcribe(TONE, final=True)
    finally:
        await engine.close()


async def ask_tts(url: str, key: str, timeout_s: float) -> None:
    engine = OpenAiTts(url, "model", api_key=key, timeout_s=timeout_s)
    try:
        await speak(engine, "hello there")
    finally:
        await engine.close()


async def ask_embedder(url: str, key: str, timeout_s: float) -> None:
    engine = OpenAiEmbedder(url, "model", key, timeout_s=timeout_s)
    try:
        await engine.embed(["hello"])
    finally:
        await engine.close()


ASK = {"llm": ask_llm, "stt": ask_stt, "tts": ask_tts, "embedder": ask_embedder}
Ask = Callable[[str, str, float], Awaitable[None]]


@pytest.mark.parametrize("kind", ASK)
@pytest.mark.parametrize(
    ("failure", "code", "retryable", "words"),
    [
        ("refuse", "refused", False, r"\(400\).*does not exist"),
        ("busy", "refused", True, r"\(503\): overloaded"),
        ("hang", "timeout", True, "silent for 0.2 seconds"),
        ("cut", "broke-off", True, "."),
    ],
)
async def test_every_failure_has_its_name(
    server: OpenAiServer, kind: str, failure: str, code: str, retryable: bool, words: str
) -> None:
    server.failure = failure
    with pytest.raises(AdapterError, match=words) as error:
        await ASK[kind](server.url, KEY, 0.2)
    assert (error.value.code, error.value.retryable) == (f"{kind}-{code}", retryable)


@pytest.mark.parametrize(("failure", "retryable"), [("untaken", False), ("later", True)])
async def test_llamas_500_for_a_request_is_no_servers_failure_unless_it_comes_later(
    server: OpenAiServer, failure: str, retryable: bool
) -> None:
    server.failure = failure
    with pytest.raises(AdapterError, match=r"\(500\): Cannot use both json_schema and grammar") as error:
        await ask_llm(server.url, KEY, 2)
    assert (error.value.code, error.value.retryable) == ("llm-refused", retryable)


@pytest.mark.parametrize("kind", ["llm", "stt", "embedder"])
@pytest.mark.parametrize("failure", ["nonsense", "shape"])
async def test_what_is_not_json_of_our_shape_broke_off(server: OpenAiServer, kind: str, failure: str) -> None:
    server.failure = failure
    with pytest.raises(AdapterError) as error:
        await ASK[kind](server.url, KEY, 2)
    assert error.value.code == f"{kind}-broke-off"


@pytest.mark.parametrize("kind", ASK)
async def test_a_wrong_key_is_not_tried_again(server: OpenAiServer, kind: str) -> None:
    with pytest.raises(AdapterError, match="401.*no such key") as error:
        await ASK[kind](server.url, "wrong", 2)
    assert not error.value.retryable


@pytest.mark.parametrize("kind", ASK)
async def test_an_absent_server_is_named(kind: str) -> None:
    with pytest.raises(AdapterError, match="cannot be reached at http://127.0.0.1:9/v1") as error:
        await ASK[kind]("http://127.0.0.1:9/v1", KEY, 2)
    assert (error.value.code, error.value.retryable) == (f"{kind}-unreachable", True)


async def test_prefill_fails_in_silence_and_asks_only_llama(server: OpenAiServer) -> None:
    server.failure = "refuse"
    engine = OpenAiLlm(server.url, "model", KEY)
    await engine.prefill(ChatRequest(messages=(COUNT,)))
    await engine.close()


async def test_a_server_without_grammars_is_not_asked_for_one(server: OpenAiServer) -> None:
    engine = OpenAiLlm(server.url, "model", KEY, llama_extensions=False)
    with pytest.raises(AdapterError, match="takes no grammar"):
        await collect(engine, ChatRequest(messages=(COUNT,), grammar='root ::= "yes"'))
    await engine.close()


SAID = ChatRequest(messages=(COUNT, Message("assistant", "one two three")), max_tokens=20)
REST = " four five six"


async def rest_of(
    server: OpenAiServer, llm: FakeLlm, request: ChatRequest = SAID, times: int = 1
) -> list[str]:
    """Return what a server of any make, with that model, says after what was said."""
    server.llm = llm
    engine = OpenAiLlm(server.url, "model", KEY, llama_extensions=False)
    try:
        return [text_of(await collect(engine, request)) for _ in range(times)]
    finally:
        await engine.close()


async def test_a_server_is_asked_to_go_on_by_its_fields(server: OpenAiServer) -> None:
    assert await rest_of(server, FakeLlm(["one two three four five six"])) == [REST]
    (_, body), *_ = server.requests
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    assert body["messages"][-1] == {"role": "assistant", "content": "one two three"}


async def test_a_server_that_begins_again_is_heard_from_what_is_new(server: OpenAiServer) -> None:
    begins_again = FakeLlm(lambda request: request.messages[-1].content + "one two three four five six")
    assert await rest_of(server, begins_again) == [REST]


async def test_a_server_that_refuses_those_fields_is_asked_in_words(
    server: OpenAiServer,
) -> None:
    server.refused_fields = frozenset({"continue_final_message"})
    assert await rest_of(server, FakeLlm(["three four five six"]), times=2) == [REST, REST]
    last = [body["messages"][-1]["role"] for _, body in server.requests]
    assert last == ["assistant", "user", "user"]


async def test_where_a_schema_begins_anew_the_whole_is_asked_for(server: OpenAiServer) -> None:
    whole = '{"tool": "time"}'
    said = ChatRequest(messages=(COUNT, Message("assistant", whole[:8])), json_schema={"type": "object"})
    assert await rest_of(server, FakeLlm([whole]), said) == [whole[8:]]
    assert server.requests[0][1]["messages"][-1]["role"] == "user"
    with pytest.raises(AdapterError, match="another answer") as failure:
        await rest_of(server, FakeLlm(['{"sure": true}']), said)
    assert failure.value.retryable


async def test_a_cancelled_speech_closes_its_connection(server: OpenAiServer) -> None:
    server.failure = "hang"
    engine = OpenAiTts(server.url, api_key=KEY)
    task = asyncio.create_task(speak(engine, "hello there"))
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    server.failure = ""
    assert await speak(engine, "hello there")
    await engine.close()
