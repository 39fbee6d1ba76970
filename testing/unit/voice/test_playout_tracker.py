"""What was heard of an answer that was cut.

It owns the count of words; sound is not made here.
"""

from __future__ import annotations

import pytest

from pipecatapp.speech.spoken_text import SpokenText
from pipecatapp.voice.playout_tracker import PlayoutTracker

pytestmark = pytest.mark.unit


@pytest.fixture
def tracker() -> PlayoutTracker:
    tracker = PlayoutTracker()
    tracker.begin("A lighthouse is a")
    tracker.synthesized(400)
    tracker.begin("large tall building that casts light")
    tracker.synthesized(300)
    tracker.synthesized(300)
    return tracker


def test_nothing_sent_is_nothing_heard(tracker: PlayoutTracker) -> None:
    assert tracker.partial_text() == ""


def test_half_the_sound_is_half_the_words(tracker: PlayoutTracker) -> None:
    tracker.played(200)
    assert tracker.partial_text() == "A lighthouse"


def test_a_piece_that_was_sent_whole_no_longer_counts(tracker: PlayoutTracker) -> None:
    tracker.played(400)
    tracker.completed()
    tracker.played(310)
    assert tracker.partial_text() == "large tall building"


def test_a_piece_whose_sound_is_not_made_yet_was_not_heard() -> None:
    tracker = PlayoutTracker()
    tracker.begin("Not yet")
    assert tracker.partial_text() == ""


def test_an_amount_is_as_long_as_its_words() -> None:
    tracker = PlayoutTracker(SpokenText("en-US").length)
    tracker.begin("It costs $37.60 at noon.")
    tracker.synthesized(700)
    tracker.played(390)
    assert tracker.partial_text() == "It costs"
    tracker.played(120)
    assert tracker.partial_text() == "It costs $37.60"


def test_a_piece_that_is_not_spoken_does_not_count_for_the_next() -> None:
    tracker = PlayoutTracker()
    tracker.begin("\U0001f389")
    tracker.completed()
    tracker.begin("Four words to say")
    tracker.synthesized(400)
    tracker.played(200)
    assert tracker.partial_text() == "Four words"


def test_a_new_answer_begins_at_nothing(tracker: PlayoutTracker) -> None:
    tracker.played(400)
    tracker.clear()
    tracker.begin("Fresh words")
    tracker.synthesized(100)
    assert tracker.partial_text() == ""
