"""What every `SpeechToText` does.

It owns the claims and how transcripts are compared. Subclass `SttSuite` and give the fixtures `stt` and
`spoken`: utterances with their words, which `recordings()` reads for real engines.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipecatapp.errors import AdapterError
from pipecatapp.ports import SpeechToText
from pipecatapp.units import SPEECH_RATE_HZ

RECORDINGS = Path(__file__).parent.parent / "recordings"
PAUSE_S = 0.4
"""Between the sentences of a long utterance (seconds)."""


@dataclass(frozen=True)
class Utterance:
    pcm: bytes
    text: str


def recordings(*names: str) -> list[Utterance]:
    """Return recordings by file name, or all of them."""
    import soundfile

    index = yaml.safe_load((RECORDINGS / "index.yaml").read_text(encoding="utf-8"))["recordings"]
    chosen = [entry for entry in index if not names or entry["file"] in names]
    assert len(chosen) == (len(names) or len(index)), f"missing one of {names}"
    utterances = []
    for entry in chosen:
        samples, rate_hz = soundfile.read(RECORDINGS / entry["file"], dtype="int16")
        assert rate_hz == SPEECH_RATE_HZ
        utterances.append(Utterance(samples.tobytes(), entry["text"]))
    return utterances


NUMBERS = {
    "17": "seventeen",
    "23": "twenty three",
    "125": "one hundred twenty five",
    "250": "two hundred fifty",
    "5": "five",
}
"""The numbers that are spoken in tests, since some engines write digits and some words."""


def words_of(text: str) -> list[str]:
    plain = text.lower().replace("favourite", "favorite").replace("colours", "colors").replace("-", " ")
    words = " ".join(NUMBERS.get(word, word) for word in re.findall(r"[a-z0-9']+", plain))
    return words.split()


def word_overlap(expected: str, heard: str) -> float:
    """Return the share of `expected`'s words that `heard` has in the same order, less what it adds."""
    want, got = words_of(expected), words_of(heard)
    matched = sum(block.size for block in SequenceMatcher(None, want, got, False).get_matching_blocks())
    return matched / max(len(want), len(got), 1)


def one_after_another(utterances: list[Utterance], at_least_s: float) -> Utterance:
    """Return the utterances in turn, with pauses, until they last `at_least_s` seconds."""
    pause = bytes(2 * round(PAUSE_S * SPEECH_RATE_HZ))
    pcm, texts = b"", []
    while len(pcm) < at_least_s * 2 * SPEECH_RATE_HZ:
        utterance = utterances[len(texts) % len(utterances)]
        pcm += utterance.pcm + pause
        texts.append(utterance.text)
    return Utterance(pcm, " ".join(texts))


class SttSuite:
    min_overlap = 0.9
    """Share of the words that must be right over all of `spoken`."""
    min_long_overlap = 0.85
    """The same for an utterance of more than 30 seconds."""

    def long_speech(self) -> list[Utterance]:
        """Return what the long utterance is made of: every recording, unless a fake hears none."""
        return recordings()

    async def test_is_a_recogniser_with_a_name(self, stt: SpeechToText) -> None:
        assert isinstance(stt, SpeechToText)
        assert stt.name

    async def test_hears_what_was_said(self, stt: SpeechToText, spoken: list[Utterance]) -> None:
        heard = [(await stt.transcribe(utterance.pcm, final=True)).text for utterance in spoken]
        overlaps = [word_overlap(u.text, text) for u, text in zip(spoken, heard, strict=True)]
        assert sum(overlaps) / len(overlaps) >= self.min_overlap, list(zip(overlaps, heard, strict=True))

    async def test_silence_has_no_words(self, stt: SpeechToText) -> None:
        silence = bytes(2 * SPEECH_RATE_HZ)
        for final in (False, True):
            assert (await stt.transcribe(silence, final=final)).text == ""

    async def test_nothing_and_half_a_sample_have_no_words(self, stt: SpeechToText) -> None:
        for pcm in (b"", b"\0", b"\0\0\0"):
            assert (await stt.transcribe(pcm, final=True)).text == ""

    async def test_faint_noise_has_no_words(self, stt: SpeechToText) -> None:
        noise = np.random.default_rng(1).normal(0, 30, 2 * SPEECH_RATE_HZ).astype("<i2").tobytes()
        assert (await stt.transcribe(noise, final=True)).text == ""

    async def test_a_growing_utterance_can_be_heard_early(
        self, stt: SpeechToText, spoken: list[Utterance]
    ) -> None:
        utterance = max(spoken, key=lambda entry: len(entry.pcm))
        third = len(utterance.pcm) // 3
        lengths = []
        for pcm in (utterance.pcm[: third + third % 2], utterance.pcm):
            lengths.append(len(words_of((await stt.transcribe(pcm, final=False)).text)))
        assert lengths[1] > 0
        assert lengths[0] <= lengths[1]

    async def test_two_at_once_are_kept_apart(self, stt: SpeechToText, spoken: list[Utterance]) -> None:
        first, second = spoken[0], spoken[-1]
        alone = [(await stt.transcribe(u.pcm, final=False)).text for u in (first, second)]
        together = await asyncio.gather(*(stt.transcribe(u.pcm, final=False) for u in (first, second)))
        assert [transcript.text for transcript in together] == alone

    async def test_more_than_thirty_seconds_lose_nothing(
        self, stt: SpeechToText, spoken: list[Utterance]
    ) -> None:
        long = one_after_another(self.long_speech() or spoken, 40)
        heard = (await stt.transcribe(long.pcm, final=True)).text
        assert word_overlap(long.text, heard) >= self.min_long_overlap, heard

    async def test_a_closed_one_refuses(self, stt: SpeechToText, spoken: list[Utterance]) -> None:
        await stt.close()
        await stt.close()
        with pytest.raises(AdapterError):
            await stt.transcribe(spoken[0].pcm, final=True)
