"""Cuts long speech into chunks that a recogniser decodes at once, at quiet moments.

Not here: recognising a chunk.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipecatapp.adapters.audio.pcm import Samples, to_float
from pipecatapp.units import SPEECH_RATE_HZ

CHUNK_S = 28.0
"""Longest stretch decoded at once (seconds): Whisper's 30 less the margin."""
CUT_FROM_S = 20.0
"""A longer utterance is cut at its quietest moment from here to `CHUNK_S` (seconds)."""
CUT_FRAME_S = 0.1
"""Length over which "quiet" is measured (seconds)."""


def pcm_chunks(pcm: bytes) -> Iterator[tuple[int, int]]:
    """Yield first and last sample, exclusive, of each chunk of mono 16-bit samples at `SPEECH_RATE_HZ`."""
    yield from chunks(to_float(pcm))


def chunks(samples: Samples) -> Iterator[tuple[int, int]]:
    """Yield first and last sample, exclusive, of each chunk."""
    start = 0
    while start < len(samples):
        end = chunk_boundary(samples, start)
        yield start, end
        start = end


def chunk_boundary(samples: Samples, start: int) -> int:
    """Return where the piece from `start` ends: at a quiet moment, or with the audio.

    The cut depends only on samples before `start + CHUNK_S`, so it stays as the utterance grows.
    """
    longest = round(CHUNK_S * SPEECH_RATE_HZ)
    if len(samples) - start <= longest:
        return len(samples)
    frame = round(CUT_FRAME_S * SPEECH_RATE_HZ)
    first = start + round(CUT_FROM_S * SPEECH_RATE_HZ)
    frames = samples[first : start + longest]
    frames = frames[: len(frames) - len(frames) % frame].reshape(-1, frame)
    quietest = int(np.argmin(np.square(frames).mean(axis=1)))
    return first + quietest * frame + frame // 2
