"""Stock faster-whisper: slower than the embedded engine, with beam search, for any Whisper model.

It owns decoding the way the library means it; the short window is `whisper_short_window`'s.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipecatapp.adapters.audio.pcm import to_float
from pipecatapp.adapters.host.worker_thread import WorkerThread
from pipecatapp.adapters.stt.whisper_model import SHORTEST_S, SILENCE_LEVEL, open_whisper, strip_noise_tags
from pipecatapp.errors import AdapterError
from pipecatapp.ports import Transcript
from pipecatapp.units import SPEECH_RATE_HZ

BEAM_FINAL = 5
"""The library's default; interim transcripts are greedy."""


class FasterWhisperStt:
    """A CTranslate2 Whisper model, decoded in windows of 30 seconds.

    Args:
        model_dir: The model's folder.
        threads: CPU threads, > 0.
        language: ISO 639-1 code of what is spoken; "" lets the model find out.
    """

    def __init__(self, model_dir: Path, *, threads: int = 1, language: str = "en") -> None:
        self._model_dir = model_dir
        self._threads = threads
        self._language = language
        self._worker = WorkerThread("speech to text")
        self._model: Any = None

    @classmethod
    async def load(cls, model_dir: Path, *, threads: int = 1, language: str = "en") -> FasterWhisperStt:
        """Return it with its model in memory; the arguments are the class's.

        Raises:
            AdapterError: The package or the model is missing or does not work.
        """
        engine = cls(model_dir, threads=threads, language=language)
        engine._model = await engine._worker.open(open_whisper, model_dir, threads)
        return engine

    @property
    def name(self) -> str:
        """Engine and model."""
        return f"faster-whisper ({self._model_dir.name})"

    async def transcribe(self, pcm: bytes, *, final: bool) -> Transcript:
        """Recognise an utterance so far, of any length.

        Raises:
            AdapterError: The engine failed.
        """
        return Transcript(await self._worker.run(self._transcribe, pcm, final))

    async def close(self) -> None:
        """Free the model."""
        await self._worker.close()
        self._model = None

    def _transcribe(self, pcm: bytes, final: bool) -> str:
        samples = to_float(pcm)
        if len(samples) < SHORTEST_S * SPEECH_RATE_HZ or np.abs(samples).max() < SILENCE_LEVEL:
            return ""
        try:
            segments, _ = self._model.transcribe(
                samples,
                language=self._language or None,
                beam_size=BEAM_FINAL if final else 1,
                condition_on_previous_text=False,
            )
            return strip_noise_tags(" ".join(segment.text.strip() for segment in segments))
        except (RuntimeError, ValueError) as exc:
            raise AdapterError("engine-failed", f"faster-whisper failed: {exc}", retryable=True) from exc
