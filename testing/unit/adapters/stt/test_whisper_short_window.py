"""The recogniser's judgement of its own transcripts."""

from __future__ import annotations

import pytest

from pipecatapp.adapters.stt.whisper_short_window import collapse_repetition, looks_hallucinated

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
    assert collapse_repetition(text) == once


@pytest.mark.parametrize(
    "text",
    ["Stop Stop Stop", "an old-s-y-y-y-y-y man", "so " * 60, "a b c d e f g h i j k l m n o p q"],
)
def test_loops_stutters_and_haste_are_odd(text: str) -> None:
    assert looks_hallucinated(text, logprob=-0.2, duration_s=2.0)


def test_doubt_is_odd_and_plain_speech_is_not() -> None:
    assert looks_hallucinated("Yes", logprob=-1.8, duration_s=0.6)
    assert not looks_hallucinated("What is the capital of France?", logprob=-0.3, duration_s=1.6)
    assert not looks_hallucinated("", logprob=0.0, duration_s=1.0)
