"""Speech to text by any OpenAI-compatible server.

It owns `POST /audio/transcriptions`; the server's own engine is its own business.
"""

from __future__ import annotations

import numpy as np

from pipecatapp.adapters.audio.pcm import to_float, to_wav
from pipecatapp.adapters.http.openai_api import OpenAiHttp
from pipecatapp.errors import AdapterError
from pipecatapp.ports import Transcript
from pipecatapp.units import SPEECH_RATE_HZ

SHORTEST_S = 0.1
"""Less than this is no word (seconds); some servers refuse it."""
SILENCE_LEVEL = 0.003
"""Peak below which there is nothing to hear: -50 dB of full scale."""


class OpenAiStt:
    """Client of one `/audio/transcriptions`.

    Args:
        base_url: Ends in /v1.
        model: Name to ask the server for.
        api_key: Sent as a bearer token; "" for none.
        language: ISO 639-1 code of what is spoken; "" lets the server find out.
        timeout_s: Longest wait for an answer (seconds, > 0).
    """

    def __init__(
        self,
        base_url: str,
        model: str = "whisper-1",
        api_key: str = "",
        *,
        language: str = "en",
        timeout_s: float = 30.0,
    ) -> None:
        self._model = model
        self._language = language
        self._http = OpenAiHttp(base_url, api_key, server_name=self.name, kind="stt", timeout_s=timeout_s)

    @property
    def name(self) -> str:
        """Engine and model."""
        return f"openai-compatible ({self._model})"

    async def transcribe(self, pcm: bytes, *, final: bool) -> Transcript:
        """Recognise an utterance so far.

        Raises:
            AdapterError: `stt-unreachable`, `stt-timeout`, `stt-refused` or `stt-broke-off`.
        """
        samples = to_float(pcm)
        if len(samples) < SHORTEST_S * SPEECH_RATE_HZ or np.abs(samples).max() < SILENCE_LEVEL:
            self._http.check_open()
            return Transcript("")
        form = {"model": self._model, "response_format": "json", "temperature": "0"}
        if self._language:
            form["language"] = self._language
        file = ("utterance.wav", to_wav(pcm[: 2 * len(samples)], SPEECH_RATE_HZ), "audio/wav")
        reply = await self._http.post_form("/audio/transcriptions", form, {"file": file})
        text = reply.get("text")
        if not isinstance(text, str):
            raise AdapterError("stt-refused", f"{self.name} answered without a text")
        return Transcript(text.strip())

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()
