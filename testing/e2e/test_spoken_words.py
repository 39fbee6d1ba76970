"""What a listener hears of written text: Piper speaks it, Whisper writes it down again."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest
import soxr

from pipecatapp.adapters.stt.faster_whisper import FasterWhisperStt
from pipecatapp.adapters.tts.piper import PiperTts
from pipecatapp.speech.speaker import LINE_PAUSE_S, Speaker
from pipecatapp.units import SPEECH_RATE_HZ
from testing.e2e.engine_models import PIPER, WHISPER, model

pytestmark = pytest.mark.e2e

QUIET = 300
"""A sample below this (of 32767) is no sound."""
NOTES = """# Plan

Run **make** with `git status`:

```python
print("asterisk")
```

Read [the guide](https://example.com/guide)."""


@pytest.fixture
async def speaker() -> AsyncIterator[Speaker]:
    voice = await PiperTts.load(model(PIPER))
    yield Speaker(voice)
    await voice.close()


@pytest.fixture
async def recogniser() -> AsyncIterator[FasterWhisperStt]:
    engine = await FasterWhisperStt.load(model(WHISPER))
    yield engine
    await engine.close()


async def sound_of(speaker: Speaker, text: str) -> bytes:
    """Return a text as it is spoken, at the recogniser's rate, with a breath at either end."""
    pcm = b"".join([chunk async for chunk in speaker.say(text)])
    samples = np.frombuffer(pcm, "<i2").astype(np.float32)
    heard = soxr.resample(samples, speaker.voice.sample_rate_hz, SPEECH_RATE_HZ)
    breath = np.zeros(SPEECH_RATE_HZ // 5)
    return np.clip(np.concatenate([breath, heard, breath]), -32768, 32767).astype("<i2").tobytes()


@pytest.mark.parametrize(
    ("written", "heard"),
    [
        (
            "Dr. Lee paid $37.60 at 9:00 for a map under George III.",
            ["dr. lee", "$37.60", "9 o'clock", "george iii"],
        ),
        ("Henry VIII had 1,250 ships in 1536.", ["henry viii", "1,250", "1536"]),
        ("It is 20 °C and 5 km away.", ["20 degrees", "5 k", "away"]),
        (NOTES, ["run make with", "status", "read the guide"]),
    ],
)
async def test_what_is_written_is_heard_as_it_is_meant(
    speaker: Speaker, recogniser: FasterWhisperStt, written: str, heard: list[str]
) -> None:
    text = (await recogniser.transcribe(await sound_of(speaker, written), final=True)).text.lower()
    # Piper's voice is never twice the same, and the tiny recogniser mishears a word now and then.
    assert sum(phrase in text for phrase in heard) >= len(heard) - 1, text
    assert not any(mark in text for mark in ("asterisk", "slash", "hash", "http", "roman", "900")), text


async def test_a_list_has_pauses(speaker: Speaker) -> None:
    samples = np.frombuffer(await sound_of(speaker, "Rope\nCandles\nSalt"), "<i2").astype(np.int32)
    loud = np.flatnonzero(np.abs(samples) > QUIET)
    pauses_s = np.diff(loud) / SPEECH_RATE_HZ
    assert sum(pauses_s > LINE_PAUSE_S) == 2
