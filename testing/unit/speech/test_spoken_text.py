"""What a voice is given to say for what is written.

It owns the tables beside it and what holds for every text; sound is not made here.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import yaml

from pipecatapp.speech.spoken_text import SpokenText
from pipecatapp.voice.clause_aggregator import ClauseAggregator

pytestmark = pytest.mark.unit

ENGLISH = SpokenText("en-US")


def cases(name: str) -> list[tuple[str, str, str]]:
    table = yaml.safe_load((Path(__file__).parent / f"{name}.yaml").read_text(encoding="utf-8"))
    return [(group, written, said) for group, rows in table.items() for written, said in rows]


@pytest.mark.parametrize(("group", "written", "said"), cases("english"))
def test_english_is_said_as_people_say_it(group: str, written: str, said: str) -> None:
    words = ENGLISH.words(written)
    assert words == said
    assert not re.search(r"[0-9#*_`|~<>\\/\[\](){}@$%&=+^\u2022]|https?:", words)


@pytest.mark.parametrize(("tag", "written", "said"), cases("other_languages"))
def test_another_language_is_said_in_its_own_words(tag: str, written: str, said: str) -> None:
    assert SpokenText(tag).words(written) == said


def test_of_an_unknown_language_only_marks_are_taken_off() -> None:
    assert SpokenText("").words("**Paid** $37.60 to [Ann](https://example.com)") == "Paid $37.60 to Ann"


def streamed(text: str) -> list[str]:
    aggregator = ClauseAggregator(ENGLISH.is_cut_by)
    return [piece for character in text for piece in aggregator.feed(character)] + aggregator.flush()


@pytest.mark.parametrize(("group", "written", "said"), cases("english"))
def test_an_answer_that_comes_letter_by_letter_is_said_the_same(group: str, written: str, said: str) -> None:
    text = f"{written}\nAnd this is what I have to say about it, as far as I know."
    pieces = " ".join(ENGLISH.words(piece) for piece in streamed(text))
    assert re.findall(r"[\w']+", pieces) == re.findall(r"[\w']+", ENGLISH.words(text))


@pytest.mark.parametrize(
    ("tag", "said"),
    [("en-US", "March fifth, twenty twenty-four"), ("en-GB", "the third of May, twenty twenty-four")],
)
def test_a_date_in_digits_is_read_as_the_voices_country_does(tag: str, said: str) -> None:
    assert SpokenText(tag).words("3/5/2024") == said


def test_a_line_ends_with_a_pause() -> None:
    said = ENGLISH.sentences("Rope\nCandles\nSalt")
    assert [(one.words, one.ends_line) for one in said] == [
        ("Rope.", True),
        ("Candles.", True),
        ("Salt", False),
    ]


def test_a_sentence_ends_where_a_short_form_does_not() -> None:
    said = ENGLISH.sentences("Ask Dr. Lee at 5 p.m. about it. Then go to St. Paul.")
    assert [one.words for one in said] == ["Ask Doctor Lee at five P M about it.", "Then go to Saint Paul."]


@pytest.mark.parametrize(
    "unit", ["1 ", "1-", "1/", "1+", "+1 ", "0", "[", "(", "*", "`", "A ", "a.", "I ", "<a", "1:1 "]
)
def test_no_text_holds_the_voice_up(unit: str) -> None:
    began_s = time.process_time()
    ENGLISH.words((unit * 4096)[:4096])
    assert time.process_time() - began_s < 2.0
