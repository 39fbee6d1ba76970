"""The last ten turns, as messages."""

from __future__ import annotations

import pytest

from pipecatapp.memory.short_term import ShortTermMemory
from pipecatapp.ports import Message, StoredTurn

pytestmark = pytest.mark.unit


def turn(user: str, assistant: str) -> StoredTurn:
    return StoredTurn(
        turn_id=user, user_text=user, assistant_text=assistant, interrupted=False, created_s=1.0
    )


def kept(memory: ShortTermMemory) -> list[str]:
    return [turn.user_text for turn in memory.turns]


def numbered(first: int, last: int) -> list[str]:
    return [f"u{number}" for number in range(first, last + 1)]


def test_the_last_ten_turns_are_always_kept() -> None:
    memory = ShortTermMemory()
    for number in range(40):
        memory.add(turn(f"u{number}", f"a{number}"))
        assert kept(memory)[-10:] == numbered(max(0, number - 9), number)
        assert len(memory.turns) <= 14


def test_the_oldest_turns_go_five_at_a_time_so_that_a_prompt_keeps_its_beginning() -> None:
    memory = ShortTermMemory()
    beginnings = []
    for number in range(30):
        memory.add(turn(f"u{number}", f"a{number}"))
        beginnings.append(kept(memory)[0])
    assert set(beginnings) == {"u0", "u5", "u10", "u15", "u20"}


def test_reading_the_turns_again_keeps_the_beginning() -> None:
    turns = [turn(f"u{number}", "a") for number in range(12)]
    memory = ShortTermMemory(turns[:11])
    memory.add(turns[11])
    memory.replace(turns)
    assert kept(memory) == numbered(1, 11)


def test_a_conversation_that_is_revived_begins_ten_turns_ago() -> None:
    memory = ShortTermMemory(turn(f"u{number}", "a") for number in range(30))
    assert kept(memory) == numbered(20, 29)


def test_messages_alternate_from_the_user_on() -> None:
    memory = ShortTermMemory([turn("a", ""), turn("b", " "), turn("c", "yes"), turn("d", "no")])
    assert memory.messages() == [
        Message("user", "a\nb\nc"),
        Message("assistant", "yes"),
        Message("user", "d"),
        Message("assistant", "no"),
    ]


def test_a_turn_of_whose_answer_nothing_is_shown_is_left_out() -> None:
    memory = ShortTermMemory(
        [turn("one", "Sorry."), turn("two", "A lighthouse. Sorry."), turn("three", "yes")]
    )
    shown = memory.messages(lambda answer: answer.removesuffix("Sorry.").strip())
    assert [message.content for message in shown] == ["two", "A lighthouse.", "three", "yes"]


def test_replacing_forgets_what_was() -> None:
    memory = ShortTermMemory([turn("a", "b")])
    memory.replace([turn("c", "d")])
    assert memory.turns == (turn("c", "d"),)
