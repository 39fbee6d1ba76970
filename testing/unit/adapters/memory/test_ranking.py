"""Which of several similar facts comes first."""

from __future__ import annotations

import pytest

from pipecatapp.adapters.memory.ranking import ScoredFact, normalise, rank, subject_template
from pipecatapp.ports import Fact

pytestmark = pytest.mark.unit


def found(text: str, score: float, said: int) -> ScoredFact:
    return ScoredFact(Fact(id=text, text=text, created_s=1.0, session_id="", score=score), said)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("My dog is called Biscuit.", "my dog is called"),
        ("my dog is called Rex", "my dog is called"),
        ("My favorite color is green.", "my favorite color is"),
        ("I live in the city of Vienna.", "i live in"),
        ("The code of the alarm is 4711", "the code of the alarm is"),
        ("I am tired.", ""),
        ("I like tea.", ""),
        ("Biscuit", ""),
    ],
)
def test_the_shape_is_what_a_newer_fact_repeats(text: str, shape: str) -> None:
    assert subject_template(text) == shape


def test_the_newest_of_one_shape_comes_first_and_others_keep_their_place() -> None:
    ranked = rank(
        [
            found("My dog is called Rex.", 0.70, 1),
            found("My cat is called Tom.", 0.65, 9),
            found("My dog is called Biscuit.", 0.60, 2),
        ],
        3,
    )
    assert [fact.text.split()[-1] for fact in ranked] == ["Biscuit.", "Rex.", "Tom."]


def test_a_far_fact_of_one_shape_does_not_win() -> None:
    ranked = rank([found("My dog is called Rex.", 0.9, 1), found("My dog is called Anything.", 0.3, 2)], 2)
    assert ranked[0].text == "My dog is called Rex."


def test_near_ties_go_to_the_newest() -> None:
    ranked = rank([found("I like tea.", 0.51, 1), found("Tea is fine.", 0.50, 2), found("Far.", 0.4, 3)], 2)
    assert [fact.text for fact in ranked] == ["Tea is fine.", "I like tea."]


def test_spelling_does_not_make_two_facts() -> None:
    assert normalise(" My DOG  is called Biscuit! ") == normalise("my dog is called biscuit.")
