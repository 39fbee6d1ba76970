"""The recogniser's judgement of its own transcripts."""

from __future__ import annotations

import numpy as np
import pytest

from pipecatapp.adapters.audio.pcm import to_float, to_pcm, trim_leading_silence
from pipecatapp.adapters.stt.whisper_short_window import PIECE_S, cleaned, is_odd, piece_end, said_once
from pipecatapp.units import SPEECH_RATE_HZ

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "once"),
    [
        ("What time is it? What time is it?", "What time is it?"),
        ("Turn it off. Turn it Off. Turn it", "Turn it off."),
        ("17 17 17", "17"),
        ("What is the capital of France?", "What is the capital of France?"),
        ("I like it a lot, a lot.", "I like it a lot, a lot."),
        ("", ""),
    ],
)
def test_an_echo_is_said_once(text: str, once: str) -> None:
    assert said_once(text) == once


@pytest.mark.parametrize(
    "text",
    ["Stop Stop Stop", "an old-s-y-y-y-y-y man", "so " * 60, "a b c d e f g h i j k l m n o p q"],
)
def test_loops_stutters_and_haste_are_odd(text: str) -> None:
    assert is_odd(text, logprob=-0.2, duration_s=2.0)


def test_doubt_is_odd_and_plain_speech_is_not() -> None:
    assert is_odd("Yes", logprob=-1.8, duration_s=0.6)
    assert not is_odd("What is the capital of France?", logprob=-0.3, duration_s=1.6)
    assert not is_odd("", logprob=0.0, duration_s=1.0)


@pytest.mark.parametrize("noise", ["[BLANK_AUDIO]", "(music)", "♪ ♪", "*coughs*", ". . .", "  "])
def test_noise_has_no_words(noise: str) -> None:
    assert cleaned(noise) == ""


def test_a_long_utterance_is_cut_where_it_is_quiet_and_stays_cut_as_it_grows() -> None:
    samples = np.sin(np.arange(70 * SPEECH_RATE_HZ) * 0.05).astype(np.float32)
    quiet_s = 23.5
    samples[round(quiet_s * SPEECH_RATE_HZ) : round((quiet_s + 0.4) * SPEECH_RATE_HZ)] = 0
    ends = {piece_end(samples[: seconds * SPEECH_RATE_HZ], 0) for seconds in (29, 40, 70)}
    assert len(ends) == 1
    assert quiet_s < ends.pop() / SPEECH_RATE_HZ < quiet_s + 0.4


def test_pieces_cover_everything_and_fit_the_window() -> None:
    samples = np.random.default_rng(0).normal(size=100 * SPEECH_RATE_HZ).astype(np.float32)
    start, pieces = 0, []
    while start < len(samples):
        end = piece_end(samples, start)
        pieces.append(end - start)
        start = end
    assert sum(pieces) == len(samples)
    assert max(pieces) <= PIECE_S * SPEECH_RATE_HZ


def test_silence_before_speech_is_trimmed_to_its_attack() -> None:
    pcm = to_pcm(np.concatenate([np.zeros(1000), np.full(10, 0.5)]))
    assert len(trim_leading_silence(pcm, 16_000)) == 2 * (80 + 10)
    assert trim_leading_silence(bytes(400), 16_000) == b""


def test_samples_survive_the_way_to_floats_and_back() -> None:
    pcm = np.array([0, 1000, -32767, 32767], "<i2").tobytes()
    back = np.frombuffer(to_pcm(to_float(pcm)), "<i2").astype(int)
    assert np.abs(back - np.frombuffer(pcm, "<i2")).max() <= 2
