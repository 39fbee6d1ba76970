"""Types whose name says what a value is.

It owns the vocabulary for audio; arithmetic on it belongs to who uses it.
"""

from __future__ import annotations

from typing import NewType

Pcm16 = NewType("Pcm16", bytes)
"""Mono signed 16-bit little-endian samples, two bytes each."""

BYTES_PER_SAMPLE = 2
"""Bytes of one sample of `Pcm16`."""

SPEECH_RATE_HZ = 16_000
"""Sample rate of everything that the agent hears (hertz); Silero and Whisper take no other."""


def seconds_of(pcm: bytes, rate_hz: int) -> float:
    """Return how long `pcm` lasts, in seconds.

    Args:
        pcm: Mono 16-bit samples.
        rate_hz: Samples per second, > 0.
    """
    return len(pcm) / (BYTES_PER_SAMPLE * rate_hz)
