"""How alike two texts are, and what a piece of sound says.

It owns the comparison by words and the second recogniser that listens to the agent's voice: stock
faster-whisper, which shares no code with the agent's own recogniser.
"""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from testing.e2e.sound import RATE_HZ, Samples, resample

WHISPER_RATE_HZ = 16_000
_NAMES = "zero one two three four five six seven eight nine ten eleven twelve"
_NUMBERS = {str(number): name for number, name in enumerate(_NAMES.split())}


def words_of(text: str) -> list[str]:
    """Return the words of `text`, without case and punctuation, small numbers as words."""
    plain = re.sub(r"[^a-z0-9' ]+", " ", text.lower().replace("colour", "color")).replace("'", "")
    return " ".join(_NUMBERS.get(word, word) for word in plain.split()).split()


def overlap(wanted: str, got: str) -> float:
    """Return which share of the words of `wanted` is in `got` in that order, 0 to 1."""
    left, right = words_of(wanted), words_of(got)
    if not left:
        return 1.0 if not right else 0.0
    row = [0] * (len(right) + 1)
    for word in left:
        previous = 0
        for index, other in enumerate(right, 1):
            previous, row[index] = (
                row[index],
                previous + 1 if word == other else max(row[index], row[index - 1]),
            )
    return row[-1] / len(left)


@functools.cache
def _whisper() -> Any:
    from faster_whisper import WhisperModel

    default = Path.home() / ".cache" / "twin" / "models"
    folder = Path(os.environ.get("TWIN_MODELS_DIR", default)) / "faster-whisper-tiny.en"
    return WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=2)


def transcribe(audio: Samples) -> str:
    """Return what 48 kHz `audio` says."""
    sound = resample(audio, RATE_HZ, WHISPER_RATE_HZ).astype(np.float32) / 32768
    segments, _ = _whisper().transcribe(sound, language="en", beam_size=5, condition_on_previous_text=False)
    return " ".join(segment.text.strip() for segment in segments)
