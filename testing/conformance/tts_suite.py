"""What every `TextToSpeech` does.

It owns the claims. Subclass `TtsSuite` and give a fixture `tts`; whether a voice is understood is
checked by the module that has a recogniser.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing

import numpy as np
import pytest

from pipecatapp.errors import AdapterError
from pipecatapp.ports import TextToSpeech

SHORT = "Good morning."
LONG = "The train to the north leaves from the second platform at a quarter past nine. Please hurry up."
FIRST_SOUND_S = 0.03
"""Nothing before the first sound but what keeps its attack (seconds)."""
LOUD = 200
"""A sample above this (of 32767) is sound."""


async def speak(tts: TextToSpeech, text: str) -> bytes:
    async with aclosing(tts.synthesize(text)) as sound:  # type: ignore[type-var]
        return b"".join([pcm async for pcm in sound])


class TtsSuite:
    async def test_is_a_voice_with_a_name(self, tts: TextToSpeech) -> None:
        assert isinstance(tts, TextToSpeech)
        assert tts.name
        assert re.fullmatch(r"[a-z]{2,3}(-[A-Za-z0-9]+)*", tts.language)
        assert 8000 <= tts.sample_rate_hz <= 48000

    async def test_speaks_whole_samples_at_speaking_pace(self, tts: TextToSpeech) -> None:
        pcm = await speak(tts, LONG)
        assert len(pcm) % 2 == 0
        words_per_s = len(LONG.split()) / (len(pcm) / 2 / tts.sample_rate_hz)
        assert 1.5 < words_per_s < 6

    async def test_begins_with_sound(self, tts: TextToSpeech) -> None:
        samples = np.frombuffer(await speak(tts, SHORT), "<i2").astype(np.int32)
        loud = np.flatnonzero(np.abs(samples) > LOUD)
        assert len(loud)
        assert loud[0] < FIRST_SOUND_S * tts.sample_rate_hz

    async def test_more_words_take_longer(self, tts: TextToSpeech) -> None:
        assert len(await speak(tts, LONG)) > 2 * len(await speak(tts, SHORT))

    @pytest.mark.parametrize("text", ["", "   ", "...", "?!", "\n"])
    async def test_no_words_are_no_sound(self, tts: TextToSpeech, text: str) -> None:
        assert await speak(tts, text) == b""

    @pytest.mark.parametrize(
        "text", ["--help", "-f /etc/passwd", "<speak>hi</speak>", "a; echo b", "café naïve"]
    )
    async def test_odd_text_is_only_spoken(self, tts: TextToSpeech, text: str) -> None:
        assert len(await speak(tts, text)) > 0

    async def test_a_closed_synthesis_leaves_the_voice_free(self, tts: TextToSpeech) -> None:
        async with aclosing(tts.synthesize(LONG)) as sound:  # type: ignore[type-var]
            await anext(sound)
        assert await speak(tts, SHORT)

    async def test_a_cancelled_synthesis_leaves_the_voice_free(self, tts: TextToSpeech) -> None:
        task = asyncio.create_task(speak(tts, LONG))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await speak(tts, SHORT)

    async def test_two_at_once_both_speak(self, tts: TextToSpeech) -> None:
        short, long = await asyncio.gather(speak(tts, SHORT), speak(tts, LONG))
        assert 0 < len(short) < len(long)

    async def test_a_closed_one_refuses(self, tts: TextToSpeech) -> None:
        await tts.close()
        await tts.close()
        with pytest.raises(AdapterError):
            await speak(tts, SHORT)
