"""Which sentences are facts, questions or requests, with and without a recogniser's punctuation.

It owns the claims about wording; whether a statement is worth keeping is `extract_facts`'s.
"""

from __future__ import annotations

import pytest

from pipecatapp.understanding.utterance_rules import (
    as_fact,
    is_about_user,
    is_question,
    is_request,
    sentences,
    to_you,
)

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("My dog is called Biscuit.", "Your dog is called Biscuit."),
        ("I live in the city of Vienna.", "You live in the city of Vienna."),
        ("I'm allergic to peanuts.", "You are allergic to peanuts."),
        ("I was born in 1980.", "You were born in 1980."),
        ("My father was a baker.", "Your father was a baker."),
        ("The car is mine.", "The car is yours."),
        ("Call me Sam.", "Call you Sam."),
        ("Paris is in France.", "Paris is in France."),
        ("My wife and I have three children.", "Your wife and you have three children."),
    ],
)
def test_a_fact_is_turned_to_the_user(said: str, told: str) -> None:
    assert to_you(said) == told


@pytest.mark.parametrize(
    "text",
    [
        "What is my dog called?",
        "what is my dog called",
        "Do you know where I live",
        "By the way, where are my keys?",
        "is my dog old",
        "My dog is called what?",
    ],
)
def test_questions_are_seen_without_their_mark(text: str) -> None:
    assert is_question(text)


@pytest.mark.parametrize("text", ["My dog is called Biscuit.", "I live in Berlin", "Well, I am a teacher."])
def test_statements_are_no_questions(text: str) -> None:
    assert not is_question(text)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("Remember that my keys are in the kitchen drawer", "My keys are in the kitchen drawer."),
        ("please remember, the bins go out on Monday", "The bins go out on Monday."),
        ("Can you remember that Anna is vegetarian?", "Anna is vegetarian."),
        ("Don't forget that I have two cats.", "I have two cats."),
        ("Oh, by the way, note that my desk is upstairs!", "My desk is upstairs."),
    ],
)
def test_a_request_to_remember_gives_its_fact(text: str, fact: str) -> None:
    assert is_request(text)
    assert as_fact(text) == fact


@pytest.mark.parametrize(
    "text",
    [
        "Do you remember my dog?",
        "Remember when we met?",
        "Remember me",
        "Remember to call Anna",
        "I remember that day",
        "Take a note",
    ],
)
def test_other_uses_of_remember_are_no_request(text: str) -> None:
    assert not is_request(text)


def test_sentences_end_at_their_marks() -> None:
    assert sentences("Hi. My name is Ann! Who are you?") == ["Hi.", "My name is Ann!", "Who are you?"]
    assert sentences("   ") == []


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("My car is red", True),
        ("The name of my dog is Biscuit", True),
        ("Well, I am a teacher", True),
        ("Paris is big", False),
        ("The sky is blue", False),
        ("Tell me about my dog", False),
        ("Find me a name for my cat", False),
    ],
)
def test_only_statements_of_the_speaker_are_about_them(text: str, about: bool) -> None:
    assert is_about_user(text) is about
