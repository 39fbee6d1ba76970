"""The fakes pass the suites of the ports that they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from pipecatapp.errors import AdapterError
from pipecatapp.ports import ChatRequest
from testing.conformance.embedder_suite import EmbedderSuite
from testing.conformance.llm_suite import COUNT, LlmSuite, collect, text_of
from testing.conformance.stt_suite import SttSuite, Utterance
from testing.conformance.tts_suite import TtsSuite
from testing.fakes.fake_embedder import FakeEmbedder
from testing.fakes.fake_llm import BreaksOff, FakeLlm
from testing.fakes.fake_stt import FakeStt
from testing.fakes.fake_tts import FakeTts

pytestmark = pytest.mark.unit


class TestFakeLlm(LlmSuite):
    @pytest.fixture
    def llm(self) -> FakeLlm:
        return FakeLlm(["one two three four five six seven eight nine ten eleven twelve thirteen"])

    async def test_replies_come_in_turn_and_the_last_stays(self) -> None:
        llm = FakeLlm(["a", "b"])
        answers = [text_of(await collect(llm, ChatRequest(messages=(COUNT,)))) for _ in range(3)]
        assert answers == ["a", "b", "b"]
        assert len(llm.requests) == 3

    async def test_a_reply_can_break_off(self) -> None:
        llm = FakeLlm([BreaksOff("half an")])
        heard = []
        with pytest.raises(AdapterError, match="broke off"):
            async for delta in llm.stream(ChatRequest(messages=(COUNT,))):
                heard.append(delta.text)
        assert "".join(heard) == "half an"


class TestFakeStt(SttSuite):
    text = "what is the capital of france"

    @pytest.fixture
    def stt(self) -> FakeStt:
        return FakeStt([self.text] * 9)

    @pytest.fixture
    def spoken(self) -> list[Utterance]:
        tone = (9000 * np.sin(np.arange(3 * 16_000) * 0.1)).astype("<i2").tobytes()
        return [Utterance(tone, self.text)]

    async def test_more_than_thirty_seconds_lose_nothing(self, stt: FakeStt, spoken: list[Utterance]) -> None:
        await stt.transcribe(spoken[0].pcm * 14, final=True)
        assert stt.heard_s == [42.0]


class TestFakeTts(TtsSuite):
    @pytest.fixture
    def tts(self) -> FakeTts:
        return FakeTts()


class TestFakeEmbedder(EmbedderSuite):
    @pytest.fixture
    def embedder(self) -> FakeEmbedder:
        return FakeEmbedder()
