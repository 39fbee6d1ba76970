"""Sound files of the usual formats: decoding one, and writing one while its sound is still being made.

Not here: how (`adapters/audio`), and how a recogniser wants long sound cut (`adapters/stt`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, runtime_checkable

SplitSpeech = Callable[[bytes], Iterable[tuple[int, int]]]
"""Cuts mono 16-bit samples at `SPEECH_RATE_HZ` into chunks that a recogniser takes at once: first and last
sample of each, the last exclusive."""


@runtime_checkable
class AudioWriter(Protocol):
    """A sound file that is being made."""

    def feed(self, pcm: bytes) -> bytes:
        """Take mono 16-bit samples, and return what is ready of the file."""
        ...

    def end(self) -> bytes:
        """Return the rest of the file."""
        ...


@runtime_checkable
class AudioCodec(Protocol):
    """Reads and writes sound files. Every method but `media_type` blocks."""

    @property
    def write_formats(self) -> Sequence[str]:
        """Formats that `writer` makes, by the names that people know."""
        ...

    def media_type(self, audio_format: str) -> str:
        """Return the media type of one of `write_formats`."""
        ...

    def decode(self, data: bytes, *, longest_s: float) -> bytes:
        """Return a sound file as mono 16-bit samples at `SPEECH_RATE_HZ`.

        Args:
            data: The file.
            longest_s: Longest sound that is taken (seconds, > 0).

        Raises:
            AdapterError: `sound-form`, `sound-broken` or `sound-too-long`; the message is for the sender.
        """
        ...

    def writer(self, audio_format: str, rate_hz: int) -> AudioWriter:
        """Return a file to be made.

        Args:
            audio_format: One of `write_formats`.
            rate_hz: Samples per second of what is fed.
        """
        ...
