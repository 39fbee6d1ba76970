"""What was heard of an answer that was cut.

It owns the count of words; sound is not made here.
"""

from __future__ import annotations

import pytest

from pipecatapp.speech.spoken_text import SpokenText
from pipecatapp.voice.playout_tracker import SpokenMeter

pytestmark = pytest.mark.unit


@pytest.fixture
def meter() -> SpokenMeter:
    meter = SpokenMeter()
    meter.begin("A lighthouse is a")
    meter.made(400)
    meter.begin("large tall building that casts light")
    meter.made(300)
    meter.made(300)
    return meter


def test_nothing_sent_is_nothing_heard(meter: SpokenMeter) -> None:
    assert meter.cut_piece() == ""


def test_half_the_sound_is_half_the_words(meter: SpokenMeter) -> None:
    meter.sent(200)
    assert meter.cut_piece() == "A lighthouse"


def test_a_piece_that_was_sent_whole_no_longer_counts(meter: SpokenMeter) -> None:
    meter.sent(400)
    meter.ended()
    meter.sent(310)
    assert meter.cut_piece() == "large tall building"


def test_a_piece_whose_sound_is_not_made_yet_was_not_heard() -> None:
    meter = SpokenMeter()
    meter.begin("Not yet")
    assert meter.cut_piece() == ""


def test_an_amount_is_as_long_as_its_words() -> None:
    meter = SpokenMeter(SpokenText("en-US").length)
    meter.begin("It costs $37.60 at noon.")
    meter.made(700)
    meter.sent(390)
    assert meter.cut_piece() == "It costs"
    meter.sent(120)
    assert meter.cut_piece() == "It costs $37.60"


def test_a_piece_that_is_not_spoken_does_not_count_for_the_next() -> None:
    meter = SpokenMeter()
    meter.begin("\U0001f389")
    meter.ended()
    meter.begin("Four words to say")
    meter.made(400)
    meter.sent(200)
    assert meter.cut_piece() == "Four words"


def test_a_new_answer_begins_at_nothing(meter: SpokenMeter) -> None:
    meter.sent(400)
    meter.clear()
    meter.begin("Fresh words")
    meter.made(100)
    assert meter.cut_piece() == ""
