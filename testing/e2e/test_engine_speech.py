"""Every recogniser and every voice passes its port's suite, and the voices are understood."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import soxr

from pipecatapp.adapters.embed.minilm import MiniLmEmbedder
from pipecatapp.adapters.stt.faster_whisper import FasterWhisperStt
from pipecatapp.adapters.stt.pocketsphinx import PocketSphinxStt
from pipecatapp.adapters.stt.whisper_short_window import ShortWindowWhisper
from pipecatapp.adapters.tts.espeak import EspeakTts
from pipecatapp.adapters.tts.kokoro import KokoroTts
from pipecatapp.adapters.tts.piper import PiperTts
from pipecatapp.errors import AdapterError
from pipecatapp.ports import TextToSpeech
from pipecatapp.units import SPEECH_RATE_HZ
from testing.conformance.embedder_suite import EmbedderSuite
from testing.conformance.stt_suite import SttSuite, Utterance, one_after_another, recordings, word_overlap
from testing.conformance.tts_suite import LONG, TtsSuite, speak
from testing.e2e.engine_models import KOKORO, MINILM, PIPER, WHISPER, model
from testing.e2e.processes import children

pytestmark = pytest.mark.e2e

SPOKEN = ("know-france.flac", "tool-product.flac", "talk-tea.flac", "know-week.flac", "memory-city-told.flac")
SINGLE_WORDS = ("Yes.", "No.", "Stop.", "Hello.", "Goodbye.", "Seventeen.", "Turn it off.", "Thank you.")


async def as_utterance(tts: TextToSpeech, text: str) -> Utterance:
    """Return `text` as the voice says it, at the rate that recognisers take, with a breath at either end."""
    samples = np.frombuffer(await speak(tts, text), "<i2")
    heard = soxr.resample(samples.astype(np.float32), tts.sample_rate_hz, SPEECH_RATE_HZ)
    breath = np.zeros(SPEECH_RATE_HZ // 5, "<i2")
    pcm = np.concatenate([breath, np.clip(heard, -32768, 32767).astype("<i2"), breath]).tobytes()
    return Utterance(pcm, text)


@pytest.fixture(scope="module")
def spoken() -> list[Utterance]:
    return recordings(*SPOKEN)


@pytest.fixture
async def whisper() -> AsyncIterator[ShortWindowWhisper]:
    engine = await ShortWindowWhisper.load(model(WHISPER))
    yield engine
    await engine.close()


class TestShortWindowWhisper(SttSuite):
    min_overlap = 0.95

    @pytest.fixture
    def stt(self, whisper: ShortWindowWhisper) -> ShortWindowWhisper:
        return whisper

    async def test_single_words_are_said_once(self, stt: ShortWindowWhisper) -> None:
        voice = await PiperTts.load(model(PIPER))
        right = 0
        for text in SINGLE_WORDS:
            utterance = await as_utterance(voice, text)
            heard = (await stt.transcribe(utterance.pcm, final=True)).text
            assert len(heard.split()) <= len(text.split()) + 1, heard
            right += word_overlap(text, heard) == 1
        await voice.close()
        assert right >= len(SINGLE_WORDS) - 2

    async def test_two_questions_that_share_words_are_both_heard(self, stt: ShortWindowWhisper) -> None:
        both = one_after_another(recordings("know-france.flac", "know-japan.flac"), 3)
        assert word_overlap(both.text, (await stt.transcribe(both.pcm, final=True)).text) == 1

    async def test_loud_noise_has_no_words(self, stt: ShortWindowWhisper) -> None:
        noise = np.random.default_rng(1).normal(0, 3000, 2 * SPEECH_RATE_HZ).astype("<i2").tobytes()
        assert (await stt.transcribe(noise, final=True)).text == ""

    async def test_a_missing_model_says_how_to_fetch_it(self, tmp_path: Path) -> None:
        with pytest.raises(AdapterError) as absence:
            await ShortWindowWhisper.load(tmp_path / "faster-whisper-tiny.en")
        assert absence.value.hint == "twin models fetch faster-whisper-tiny.en"


class TestFasterWhisper(SttSuite):
    min_overlap = 0.95

    @pytest.fixture
    async def stt(self) -> AsyncIterator[FasterWhisperStt]:
        engine = await FasterWhisperStt.load(model(WHISPER), threads=2)
        yield engine
        await engine.close()


class TestPocketSphinx(SttSuite):
    min_overlap = 0.7
    min_long_overlap = 0.6

    @pytest.fixture
    async def stt(self) -> AsyncIterator[PocketSphinxStt]:
        engine = await PocketSphinxStt.load()
        yield engine
        await engine.close()


class VoiceSuite(TtsSuite):
    """A voice must also be understood by the recogniser."""

    min_understood = 0.9

    async def test_is_understood(self, tts: TextToSpeech, whisper: ShortWindowWhisper) -> None:
        overlaps = []
        for text in (LONG, "What is the capital of France?", "I will remind you in five minutes."):
            utterance = await as_utterance(tts, text)
            heard = (await whisper.transcribe(utterance.pcm, final=True)).text
            overlaps.append(word_overlap(text, heard))
        assert sum(overlaps) / len(overlaps) >= self.min_understood, overlaps


class TestPiper(VoiceSuite):
    @pytest.fixture
    async def tts(self) -> AsyncIterator[PiperTts]:
        engine = await PiperTts.load(model(PIPER))
        yield engine
        await engine.close()

    async def test_sentences_come_one_by_one(self, tts: PiperTts) -> None:
        assert len([pcm async for pcm in tts.synthesize(LONG)]) == 2


class TestKokoro(VoiceSuite):
    @pytest.fixture
    async def tts(self) -> AsyncIterator[KokoroTts]:
        engine = await KokoroTts.load(model(KOKORO))
        yield engine
        await engine.close()

    async def test_an_unknown_voice_lists_the_known(self) -> None:
        with pytest.raises(AdapterError, match="known: .*af_heart.*bf_emma"):
            await KokoroTts.load(model(KOKORO), voice="nobody")


class TestEspeak(VoiceSuite):
    min_understood = 0.6

    @pytest.fixture
    async def tts(self) -> AsyncIterator[EspeakTts]:
        engine = await EspeakTts.load()
        yield engine
        await engine.close()

    async def test_a_cancelled_synthesis_leaves_no_process(self, tts: EspeakTts) -> None:
        for _ in range(5):
            task = asyncio.create_task(speak(tts, LONG * 20))
            await asyncio.sleep(0.02)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert "espeak-ng" not in children()

    async def test_an_absent_program_says_what_to_install(self) -> None:
        with pytest.raises(AdapterError) as absence:
            await speak(EspeakTts("/nonexistent/espeak-ng"), "hello")
        assert absence.value.hint == "apt-get install espeak-ng"


class TestMiniLm(EmbedderSuite):
    @pytest.fixture
    async def embedder(self) -> AsyncIterator[MiniLmEmbedder]:
        engine = await MiniLmEmbedder.load(model(MINILM))
        yield engine
        await engine.close()

    async def test_meaning_counts_more_than_words(self, embedder: MiniLmEmbedder) -> None:
        pet, puppy, bank = await embedder.embed(
            ["What is my pet called?", "The user's puppy has the name Biscuit.", "What is a bank called?"]
        )
        assert pet @ puppy > 0.3
        assert (await embedder.embed(["dog"]))[0] @ (await embedder.embed(["puppy"]))[0] > 0.6
        assert puppy @ pet > puppy @ bank
