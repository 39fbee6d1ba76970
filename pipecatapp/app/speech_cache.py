"""A cache of fixed sentences as WAV files.

It owns that a sentence is made once; which sentences there are is said by who asks.
"""

from __future__ import annotations

import asyncio

from pipecatapp.adapters.audio.pcm import to_wav
from pipecatapp.ports import TextToSpeech
from pipecatapp.speech.speaker import Speaker


class SpeechCache:
    """Sentences in the agent's voice.

    Args:
        tts: The voice.
    """

    def __init__(self, tts: TextToSpeech) -> None:
        self._speaker = Speaker(tts)
        self._made: dict[str, bytes] = {}
        self._lock = asyncio.Lock()

    async def wav(self, text: str) -> bytes:
        """Return `text` as a mono 16-bit WAV file.

        Raises:
            AdapterError: The voice failed.
        """
        async with self._lock:
            if text not in self._made:
                pcm = b"".join([chunk async for chunk in self._speaker.say(text)])
                self._made[text] = to_wav(pcm, self._speaker.voice.sample_rate_hz)
        return self._made[text]
