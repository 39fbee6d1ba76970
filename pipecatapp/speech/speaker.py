"""A voice that is handed words only: what calls and the gateway speak with.

It owns the way from a written text to sound; what is said is `spoken_text`'s, making the sound the
TextToSpeech port's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

from pipecatapp.ports import TextToSpeech
from pipecatapp.speech.spoken_text import SpokenText
from pipecatapp.units import BYTES_PER_SAMPLE

LINE_PAUSE_S = 0.3
"""Silence behind a line: with the 0.1 to 0.2 s that a voice leaves itself, as long as a reader pauses."""


LONG_CHARS = 500
"""A longer text is put into words beside the event loop: 4000 characters take 40 ms."""


class Speaker:
    """Speaks written texts.

    Args:
        voice: Makes the sound.
    """

    def __init__(self, voice: TextToSpeech) -> None:
        self.voice = voice
        self.text = SpokenText(voice.language)

    def can_say(self, text: str) -> bool:
        """Return whether anything of `text` can be said."""
        return bool(self.text.sentences(text))

    async def say(self, text: str) -> AsyncGenerator[bytes, None]:
        """Yield the sound of `text`, mono 16-bit samples, with a pause behind each line; none for no words.

        Raises:
            AdapterError: The voice failed.
        """
        if len(text) > LONG_CHARS:
            sentences = await asyncio.to_thread(self.text.sentences, text)
        else:
            sentences = self.text.sentences(text)
        for sentence in sentences:
            sound = cast(AsyncGenerator[bytes, None], self.voice.synthesize(sentence.words))
            async with aclosing(sound):
                async for pcm in sound:
                    yield pcm
            if sentence.ends_line:
                yield bytes(BYTES_PER_SAMPLE * round(LINE_PAUSE_S * self.voice.sample_rate_hz))
