"""Speech to text and text to speech.

Not here: calls (`calls`), and how a text is put in words that a voice can say (`pipecatapp.speech`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said. `text` is "" for silence."""

    text: str


@runtime_checkable
class SpeechToText(Protocol):
    """A recogniser of whole utterances, quick enough to be called on a growing one."""

    @property
    def name(self) -> str:
        """Engine and model."""
        ...

    async def transcribe(self, pcm: bytes, *, final: bool) -> Transcript:
        """Recognise an utterance so far.

        Args:
            pcm: Mono 16-bit samples at `SPEECH_RATE_HZ`.
            final: False for an interim transcript, which may be rougher.

        Raises:
            AdapterError: The engine failed.
        """
        ...

    async def close(self) -> None:
        """Free the model."""
        ...


@runtime_checkable
class TextToSpeech(Protocol):
    """A voice."""

    @property
    def name(self) -> str:
        """Engine and voice."""
        ...

    @property
    def language(self) -> str:
        """Language of the voice, as in BCP 47, such as "en-US"; "" where it is not known."""
        ...

    @property
    def sample_rate_hz(self) -> int:
        """Samples per second of what `synthesize` yields."""
        ...

    def synthesize(self, text: str) -> AsyncIterator[bytes]:
        """Yield mono 16-bit samples of `text`, with no silence before the first sound.

        Raises:
            AdapterError: The engine failed.
        """
        ...

    async def close(self) -> None:
        """Free the model."""
        ...
