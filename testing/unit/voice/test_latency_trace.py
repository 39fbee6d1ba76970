"""The times of a spoken turn.

It owns what is reported and when; the stages are reached elsewhere.
"""

from __future__ import annotations

import pytest

from pipecatapp.voice.latency_trace import LatencyTrace
from testing.fakes.fake_clock import FakeClock

pytestmark = pytest.mark.unit


@pytest.fixture
def reported() -> list[dict[str, float]]:
    return []


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def trace(clock: FakeClock, reported: list[dict[str, float]]) -> LatencyTrace:
    return LatencyTrace(clock, reported.append)


def test_stages_count_from_the_end_of_speech(
    trace: LatencyTrace, clock: FakeClock, reported: list[dict[str, float]]
) -> None:
    trace.user_started()
    clock.advance(1.0)
    trace.speech_ended(0.2)
    clock.advance(0.1)
    trace.mark("llm_first_token")
    clock.advance(0.4)
    trace.bot_started()
    assert reported == [{"vad_stop": 0.2, "llm_first_token": 0.3, "bot_started": 0.7}]


def test_a_stage_reached_before_the_end_of_speech_was_heard_keeps_its_time(
    trace: LatencyTrace, clock: FakeClock, reported: list[dict[str, float]]
) -> None:
    trace.user_started()
    trace.mark("llm_first_token")
    clock.advance(0.1)
    trace.speech_ended(0.2)
    trace.bot_started()
    assert reported[0]["llm_first_token"] == pytest.approx(0.1)


def test_a_withdrawn_answer_takes_its_stages_along(
    trace: LatencyTrace, clock: FakeClock, reported: list[dict[str, float]]
) -> None:
    trace.user_started()
    trace.mark("llm_first_token")
    trace.withdraw_answer()
    clock.advance(0.5)
    trace.speech_ended(0.2)
    clock.advance(0.3)
    trace.mark("llm_first_token")
    trace.bot_started()
    assert reported[0]["llm_first_token"] == pytest.approx(0.5)


def test_speech_that_answers_nothing_is_not_reported(
    trace: LatencyTrace, reported: list[dict[str, float]]
) -> None:
    trace.bot_started()
    assert reported == []


def test_a_turn_is_reported_once(trace: LatencyTrace, reported: list[dict[str, float]]) -> None:
    trace.speech_ended(0.2)
    trace.mark("llm_first_token")
    trace.bot_started()
    trace.bot_started()
    assert len(reported) == 1
