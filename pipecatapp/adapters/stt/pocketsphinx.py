"""PocketSphinx: speech to text for processors that nothing newer runs on.

It owns the decoder that comes with its English model in the wheel. It makes about one word in ten
wrong on clear speech and is no use on noisy speech, but needs nothing beyond SSE2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipecatapp.adapters.audio.pcm import to_float
from pipecatapp.adapters.host.worker_thread import WorkerThread
from pipecatapp.errors import AdapterError
from pipecatapp.ports import Transcript
from pipecatapp.units import BYTES_PER_SAMPLE, SPEECH_RATE_HZ

SHORTEST_S = 0.2
"""Less than this is no word (seconds)."""
SILENCE_LEVEL = 0.003
"""Peak below which there is nothing to hear: -50 dB of full scale."""
PADDING_S = 0.2
"""Silence before and after an utterance (seconds); the decoder wants to see where words begin."""


class PocketSphinxStt:
    """The English model of the `pocketsphinx` wheel; one thread, as the library has no more."""

    def __init__(self) -> None:
        self._worker = WorkerThread("speech to text")
        self._decoder: Any = None

    @classmethod
    async def load(cls) -> PocketSphinxStt:
        """Return it with its model in memory.

        Raises:
            AdapterError: The package is missing or does not work.
        """
        engine = cls()
        await engine._worker.open(engine._open)
        return engine

    @property
    def name(self) -> str:
        """Engine and model."""
        return "pocketsphinx (en-us)"

    async def transcribe(self, pcm: bytes, *, final: bool) -> Transcript:
        """Recognise an utterance so far, of any length.

        Raises:
            AdapterError: The engine failed.
        """
        return Transcript(await self._worker.run(self._transcribe, pcm))

    async def close(self) -> None:
        """Free the model."""
        await self._worker.close()
        self._decoder = None

    def _open(self) -> None:
        try:
            from pocketsphinx import Decoder
        except ImportError as exc:
            raise AdapterError(
                "engine-missing", "pocketsphinx is not installed", hint="pip install 'twin[voice]'"
            ) from exc
        try:
            self._decoder = Decoder(samprate=SPEECH_RATE_HZ, loglevel="FATAL")
        except (RuntimeError, ValueError) as exc:
            raise AdapterError("engine-failed", f"pocketsphinx does not load: {exc}") from exc

    def _transcribe(self, pcm: bytes) -> str:
        samples = to_float(pcm)
        if len(samples) < SHORTEST_S * SPEECH_RATE_HZ or np.abs(samples).max() < SILENCE_LEVEL:
            return ""
        padding = bytes(BYTES_PER_SAMPLE * round(PADDING_S * SPEECH_RATE_HZ))
        whole = pcm[: len(pcm) - len(pcm) % BYTES_PER_SAMPLE]
        try:
            self._decoder.start_utt()
            # `full_utt` normalises over the whole utterance instead of guessing from its beginning.
            self._decoder.process_raw(padding + whole + padding, no_search=False, full_utt=True)
            self._decoder.end_utt()
        except (RuntimeError, ValueError) as exc:
            raise AdapterError("engine-failed", f"pocketsphinx failed: {exc}", retryable=True) from exc
        best = self._decoder.hyp()
        return best.hypstr if best is not None else ""
