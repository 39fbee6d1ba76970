"""Where an utterance stands: voice, pause, early transcript; and what its level says."""

from __future__ import annotations

import pytest

from pipecatapp.voice import utterance as utterance_states
from pipecatapp.voice.utterance import (
    PEAK_HALF_LIFE_S,
    QUIET_FLOOR,
    RESUME_S,
    TRANSITIONS,
    Event,
    LevelTracker,
    State,
    Utterance,
    after,
)
from testing.drawn_tables import drawn_table, table_of

pytestmark = pytest.mark.unit

FRAME_S = 0.02
LOUD, SOFT = 3000.0, 100.0


def test_the_drawn_table_is_the_one_that_is_used() -> None:
    assert drawn_table(utterance_states) == table_of(TRANSITIONS)


@pytest.mark.parametrize("state", list(State))
def test_voice_after_a_pause_is_speech_whatever_was_handed_on(state: State) -> None:
    assert after(state, Event.RESUMED) is State.SPEAKING


def test_an_answer_counts_as_early_only_at_a_pause() -> None:
    assert after(State.SPEAKING, Event.ANSWERED) is State.SPEAKING
    assert after(State.PAUSED, Event.ANSWERED) is State.EAGER


def test_a_second_answer_at_a_pause_changes_nothing() -> None:
    assert after(State.EAGER, Event.ANSWERED) is State.EAGER


def test_a_quiet_frame_is_one_far_below_the_recent_peak() -> None:
    level = LevelTracker()
    assert [level.feed(rms, FRAME_S) for rms in (LOUD, SOFT, LOUD)] == [True, False, True]
    assert (level.quiet_s, level.voiced_s) == (0.0, FRAME_S)


def test_a_soft_voice_is_voice_when_the_loud_one_is_long_past() -> None:
    level = LevelTracker()
    level.feed(LOUD, FRAME_S)
    level.feed(0.0, PEAK_HALF_LIFE_S)
    assert level.peak == pytest.approx(LOUD / 2)
    assert level.feed(SOFT, FRAME_S)


def test_noise_below_the_floor_is_a_pause_whatever_came_before() -> None:
    assert not LevelTracker().feed(QUIET_FLOOR, FRAME_S)


def test_a_pause_begins_once_it_was_quiet_for_its_time() -> None:
    utterance = Utterance()
    utterance.level.quiet_s = 0.28
    assert not utterance.is_voice_over(0.3)
    utterance.level.quiet_s = 0.3
    assert utterance.is_voice_over(0.3)
    assert not utterance.is_voice_over(0.0), "0 is never"
    utterance.on(Event.QUIET)
    assert not utterance.is_voice_over(0.3), "it has begun"


def test_a_pause_ends_by_a_voice_that_is_one() -> None:
    utterance = Utterance(state=State.EAGER)
    utterance.level.voiced_s = RESUME_S
    assert not utterance.is_pause_over(is_voiced=False), "a cough"
    assert utterance.is_pause_over(is_voiced=True)
    utterance.on(Event.RESUMED)
    assert not utterance.is_pause_over(is_voiced=True)
