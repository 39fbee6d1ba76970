"""A voice that hums.

It owns a tone whose length follows the words, and a record of what was said.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np

from pipecatapp.errors import AdapterError

TONE_HZ = 220.0


class FakeTts:
    """A voice of one note.

    Args:
        word_s: Sound of one word (seconds).
        delay_s: Time before the first sound (seconds).
        rate_hz: Samples per second.
        sleep: What waits; a test's virtual clock may own it.
        error: Raised by every synthesis, when set.
    """

    def __init__(
        self,
        *,
        word_s: float = 0.3,
        delay_s: float = 0.0,
        rate_hz: int = 16_000,
        sleep: Callable[[float], Any] = asyncio.sleep,
        error: AdapterError | None = None,
    ) -> None:
        self._word_s = word_s
        self._delay_s = delay_s
        self._rate_hz = rate_hz
        self._sleep = sleep
        self.error = error
        self.texts: list[str] = []
        self.cancelled = 0
        """How many syntheses were closed before their end."""
        self.is_closed = False

    @property
    def name(self) -> str:
        return "fake voice"

    @property
    def language(self) -> str:
        return "en-US"

    @property
    def sample_rate_hz(self) -> int:
        return self._rate_hz

    async def synthesize(self, text: str) -> AsyncIterator[bytes]:
        if self.is_closed:
            raise AdapterError("engine-closed", "the fake voice is closed")
        self.texts.append(text)
        if self.error is not None:
            raise self.error
        words = [word for word in text.split() if any(character.isalnum() for character in word)]
        try:
            await self._sleep(self._delay_s)
            for _ in words:
                yield self._word()
                await self._sleep(0)
        except GeneratorExit:
            self.cancelled += 1
            raise

    async def close(self) -> None:
        self.is_closed = True

    def _word(self) -> bytes:
        count = round(self._word_s * self._rate_hz)
        phase = np.arange(1, count + 1) * (2 * np.pi * TONE_HZ / self._rate_hz)
        return (8000 * np.cos(phase)).astype("<i2").tobytes()
