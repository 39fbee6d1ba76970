"""What is new in the text of a server that does not simply go on."""

from __future__ import annotations

import pytest

from pipecatapp.adapters.llm.continuation import (
    OverlapTrimmer,
    PrefixStripper,
    continuation_prompt,
    partial_answer,
    restart_request,
)
from pipecatapp.ports import ChatRequest, Message

pytestmark = pytest.mark.unit

USER = Message("user", "Where is the tower?")


def sewn(said: str, text: str, *, least: int = 1, is_spaced: bool = True) -> str:
    """Return what a seam makes of a text that comes character by character."""
    trimmer = OverlapTrimmer(said, least=least, is_spaced=is_spaced)
    return "".join(trimmer.feed(character) for character in text) + trimmer.end()


@pytest.mark.parametrize(
    ("said", "text", "rest"),
    [
        ("The tower is in", " Paris, in France.", " Paris, in France."),
        ("The tower is in", "Paris, in France.", " Paris, in France."),
        ("The tower is in", "The tower is in Paris.", " Paris."),
        ("The tower is in", "tower is in Paris.", " Paris."),
        ("The tower is in Par", "Paris, in France.", "is, in France."),
        ("The tower is in Paris", ", in France.", ", in France."),
        ("The tower is in Paris", "is what I meant.", " is what I meant."),
        ("The tower is in", "in", ""),
    ],
)
def test_words_that_were_said_are_said_once(said: str, text: str, rest: str) -> None:
    assert sewn(said, text) == rest


def test_a_server_that_goes_on_may_repeat_a_word_but_not_all_of_them() -> None:
    said = "It goes on and on"
    assert sewn(said, " and on and on.", least=len(said), is_spaced=False) == " and on and on."
    assert sewn(said, "It goes on and on.", least=len(said), is_spaced=False) == "."


def test_a_text_comes_through_as_soon_as_it_is_new() -> None:
    trimmer = OverlapTrimmer("one two", least=7, is_spaced=False)
    assert [trimmer.feed(piece) for piece in ("one", " two", " three", " four")] == [
        "",
        "",
        " three",
        " four",
    ]


def test_of_an_answer_given_anew_the_rest_is_new() -> None:
    stripper = PrefixStripper('{"tool":')
    assert [stripper.feed(piece) for piece in ('{"to', 'ol": ', '"time"}')] == ["", " ", '"time"}']


def test_another_answer_is_no_rest() -> None:
    stripper = PrefixStripper('{"tool":')
    assert [stripper.feed(piece) for piece in ('{"', 'sure":')] == ["", None]


def test_what_was_said_is_the_assistants_last_message() -> None:
    request = ChatRequest(messages=(USER, Message("assistant", "In Par")), max_tokens=10)
    assert (partial_answer(ChatRequest(messages=(USER,))), partial_answer(request)) == ("", "In Par")
    assert continuation_prompt(request).messages[:2] == request.messages
    assert continuation_prompt(request).messages[2].role == "user"
    assert (restart_request(request).messages, restart_request(request).max_tokens) == ((USER,), 16)
