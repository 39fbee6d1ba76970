"""Text to speech by any OpenAI-compatible server.

It owns `POST /audio/speech`, streamed as raw samples.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from pipecatapp.adapters.audio.pcm import trim_leading_silence
from pipecatapp.adapters.http.openai_api import OpenAiHttp
from pipecatapp.units import BYTES_PER_SAMPLE

RATE_HZ = 24_000
"""What `response_format=pcm` means in OpenAI's API (hertz)."""


class OpenAiTts:
    """Client of one `/audio/speech`.

    Args:
        base_url: Ends in /v1.
        model: Name to ask the server for.
        voice: The server's name of a voice.
        api_key: Sent as a bearer token; "" for none.
        rate_hz: Rate of the server's `pcm`, where it is another than OpenAI's.
        language: Of the voice, as in BCP 47; the server does not tell it.
        timeout_s: Longest wait for the next sound (seconds, > 0).
    """

    def __init__(
        self,
        base_url: str,
        model: str = "tts-1",
        voice: str = "alloy",
        api_key: str = "",
        *,
        rate_hz: int = RATE_HZ,
        language: str = "en-US",
        timeout_s: float = 30.0,
    ) -> None:
        self._model = model
        self._voice = voice
        self._rate_hz = rate_hz
        self._language = language
        self._http = OpenAiHttp(base_url, api_key, server_name=self.name, kind="tts", timeout_s=timeout_s)

    @property
    def name(self) -> str:
        """Engine and voice."""
        return f"openai-compatible ({self._model}, {self._voice})"

    @property
    def language(self) -> str:
        """The voice's language."""
        return self._language

    @property
    def sample_rate_hz(self) -> int:
        """Samples per second."""
        return self._rate_hz

    async def synthesize(self, text: str) -> AsyncGenerator[bytes, None]:
        """Yield the sound of `text` as it arrives; closing the iterator closes the connection.

        Raises:
            AdapterError: `tts-unreachable`, `tts-timeout`, `tts-refused` or `tts-broke-off`.
        """
        self._http.check_open()
        if not any(character.isalnum() for character in text):
            return
        body = {"model": self._model, "voice": self._voice, "input": text, "response_format": "pcm"}
        rest = b""
        has_begun = False
        async with aclosing(self._http.stream_bytes("/audio/speech", body)) as chunks:
            async for chunk in chunks:
                chunk = rest + chunk
                whole = len(chunk) - len(chunk) % BYTES_PER_SAMPLE
                pcm, rest = chunk[:whole], chunk[whole:]
                if not has_begun:
                    pcm = trim_leading_silence(pcm, self._rate_hz)
                if pcm:
                    has_begun = True
                    yield pcm

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()
