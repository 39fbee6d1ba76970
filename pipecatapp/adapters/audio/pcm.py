"""Arithmetic on mono 16-bit samples that several engines share.

It owns conversions, rate changes and the removal of silence before speech; it knows no engine.
"""

from __future__ import annotations

import io
import wave

import numpy as np
import numpy.typing as npt

from pipecatapp.units import BYTES_PER_SAMPLE

Samples = npt.NDArray[np.float32]
"""Mono samples from -1 to 1."""

SOUND_LEVEL = 400
"""Sample value (of 32767) above which synthesised speech has begun: -38 dB of full scale."""
KEPT_SILENCE_S = 0.005
"""What is kept before the first sound (seconds), so that no attack is cut."""


def to_float(pcm: bytes) -> Samples:
    """Return 16-bit samples as floats from -1 to 1; an odd last byte is dropped."""
    whole = len(pcm) - len(pcm) % BYTES_PER_SAMPLE
    return np.frombuffer(pcm[:whole], dtype="<i2").astype(np.float32) / 32768.0


def to_pcm(samples: npt.NDArray[np.floating]) -> bytes:
    """Return floats as 16-bit samples, clipped to the range."""
    return (np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2").tobytes()


def trim_leading_silence(pcm: bytes, rate_hz: int) -> bytes:
    """Drop what comes more than `KEPT_SILENCE_S` before the first sound.

    Args:
        pcm: Mono 16-bit samples.
        rate_hz: Samples per second, > 0.

    Returns:
        The rest; `b""` when there is no sound at all.
    """
    samples = np.frombuffer(pcm, dtype="<i2").astype(np.int32)
    loud = np.flatnonzero(np.abs(samples) > SOUND_LEVEL)
    if not len(loud):
        return b""
    start = max(0, int(loud[0]) - round(KEPT_SILENCE_S * rate_hz))
    return pcm[start * BYTES_PER_SAMPLE :]


def to_wav(pcm: bytes, rate_hz: int) -> bytes:
    """Return `pcm` as a WAV file."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(BYTES_PER_SAMPLE)
        file.setframerate(rate_hz)
        file.writeframes(pcm)
    return buffer.getvalue()
