"""Arithmetic on samples."""

from __future__ import annotations

import numpy as np
import pytest

from pipecatapp.adapters.audio.pcm import to_float, to_pcm, trim_leading_silence

pytestmark = pytest.mark.unit


def test_silence_before_speech_is_trimmed_to_its_attack() -> None:
    pcm = to_pcm(np.concatenate([np.zeros(1000), np.full(10, 0.5)]))
    assert len(trim_leading_silence(pcm, 16_000)) == 2 * (80 + 10)
    assert trim_leading_silence(bytes(400), 16_000) == b""


def test_samples_survive_the_way_to_floats_and_back() -> None:
    pcm = np.array([0, 1000, -32767, 32767], "<i2").tobytes()
    back = np.frombuffer(to_pcm(to_float(pcm)), "<i2").astype(int)
    assert np.abs(back - np.frombuffer(pcm, "<i2")).max() <= 2
