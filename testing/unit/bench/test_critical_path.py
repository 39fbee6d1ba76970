"""The latency benchmark says truly where the time went."""

from __future__ import annotations

import pytest

from testing.bench.voice_latency import critical_path

pytestmark = pytest.mark.unit

READY_EARLY = {
    "vad_stop": 0.2,
    "transcript": 0.25,
    "llm_first_token": 0.3,
    "first_clause": 0.35,
    "turn_end": 0.5,
    "first_audio": 0.51,
    "bot_started": 0.52,
}


def test_an_answer_that_was_ready_early_cost_nothing() -> None:
    costs = critical_path(READY_EARLY, 0.7)

    assert costs["llm_first_token"] == costs["sentence"] == 0
    assert costs["turn"] == pytest.approx(0.25)
    assert costs["tts"] == pytest.approx(0.01)
    assert costs["transport"] == pytest.approx(0.18)


def test_a_turn_that_ended_before_the_answer_was_ready_cost_nothing() -> None:
    costs = critical_path({**READY_EARLY, "first_clause": 0.6, "first_audio": 0.8, "bot_started": 0.82}, 1.0)

    assert costs["turn"] == 0
    assert costs["sentence"] == pytest.approx(0.3)
    assert costs["tts"] == pytest.approx(0.2)


def test_the_stages_add_up_to_what_the_client_measured() -> None:
    for stages in (READY_EARLY, {**READY_EARLY, "transcript": 0.16, "first_audio": 0.9, "bot_started": 0.91}):
        assert sum(critical_path(stages, 1.2).values()) == pytest.approx(1.2)
