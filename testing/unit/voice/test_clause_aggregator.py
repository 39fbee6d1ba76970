"""Where an answer is cut into pieces worth speaking.

It owns the aggregator's promises; how a piece sounds is not tested here.
"""

from __future__ import annotations

import pytest

from pipecatapp.voice.clause_aggregator import ClauseAggregator

pytestmark = pytest.mark.unit


def pieces_of(*tokens: str) -> list[str]:
    aggregator = ClauseAggregator()
    pieces = [piece for token in tokens for piece in aggregator.feed(token)]
    return [piece.strip() for piece in [*pieces, *aggregator.flush()]]


def test_whole_short_sentence_stays_whole() -> None:
    assert pieces_of("17 times 23 is 391.") == ["17 times 23 is 391."]


def test_first_piece_of_a_stream_is_cut_after_four_words() -> None:
    tokens = [" The", " sky", " looks", " blue", " because", " air", " scatters", " light", "."]
    assert pieces_of(*tokens) == ["The sky looks blue", "because air scatters light."]


def test_first_piece_ends_at_a_comma_after_two_words() -> None:
    assert pieces_of("Of course, ", "I can do that for you.")[0] == "Of course,"


def test_a_single_word_before_a_comma_is_no_piece() -> None:
    assert pieces_of("Yes, that is right.") == ["Yes, that is right."]


def test_later_pieces_are_sentences() -> None:
    text = "Tea is good. Boil fresh water in a kettle. Pour it over the leaves. "
    assert pieces_of(text) == ["Tea is good.", "Boil fresh water in a kettle.", "Pour it over the leaves."]


@pytest.mark.parametrize("text", ["It is 3.14 exactly.", "Ask Dr. Smith about it.", "At 5 p.m. we eat."])
def test_a_full_stop_inside_a_sentence_does_not_end_it(text: str) -> None:
    assert pieces_of(text) == [text]


def test_nothing_is_lost_or_doubled() -> None:
    text = "First of all, sit down. Then breathe, slowly and deeply, until you are calm again; it helps."
    tokens = [f"{word} " for word in text.split()]
    assert " ".join(pieces_of(*tokens)) == text


def test_a_piece_without_punctuation_is_cut_at_its_bound() -> None:
    words = [f"word{number} " for number in range(40)]
    pieces = pieces_of(*words)
    assert max(len(piece.split()) for piece in pieces[1:]) <= 16
    assert " ".join(pieces).split() == "".join(words).split()
