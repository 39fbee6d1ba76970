"""A scripted recogniser.

It owns texts and a record of what it was given; it hears only whether there is sound.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipecatapp.errors import AdapterError
from pipecatapp.ports import Transcript
from pipecatapp.units import BYTES_PER_SAMPLE, SPEECH_RATE_HZ

SILENCE = 300
"""Samples below this (of 32767) are silence to the fake."""


class FakeStt:
    """A recogniser that hears what it is told to.

    Args:
        texts: What the first, second ... utterance says; the last one for ever. A final transcript ends
            an utterance; an interim one returns as many words as seconds were heard, at least one.
        error: Raised by every call, when set.
    """

    def __init__(self, texts: Sequence[str] = ("hello there",), *, error: AdapterError | None = None) -> None:
        self._texts = texts
        self.error = error
        self.finals = 0
        self.heard_s: list[float] = []
        """Length of what each call was given (seconds)."""
        self.is_closed = False

    @property
    def name(self) -> str:
        return "fake recogniser"

    async def transcribe(self, pcm: bytes, *, final: bool) -> Transcript:
        if self.is_closed:
            raise AdapterError("engine-closed", "the fake recogniser is closed")
        if self.error is not None:
            raise self.error
        seconds = len(pcm) / BYTES_PER_SAMPLE / SPEECH_RATE_HZ
        self.heard_s.append(seconds)
        samples = np.frombuffer(pcm[: len(pcm) // 2 * 2], dtype="<i2").astype(np.int32)
        if not len(samples) or np.abs(samples).max() < SILENCE:
            return Transcript("")
        text = self._texts[min(self.finals, len(self._texts) - 1)]
        if final:
            self.finals += 1
            return Transcript(text)
        return Transcript(" ".join(text.split()[: max(1, int(seconds))]))

    async def close(self) -> None:
        self.is_closed = True
