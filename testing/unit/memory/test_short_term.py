"""The last ten turns, as messages."""

from __future__ import annotations

import pytest

from pipecatapp.memory.short_term import ShortTermMemory
from pipecatapp.ports import Message, StoredTurn

pytestmark = pytest.mark.unit


def turn(user: str, assistant: str) -> StoredTurn:
    return StoredTurn(user, user, assistant, False, 1.0)


def test_only_the_last_ten_turns_are_kept() -> None:
    memory = ShortTermMemory(turn(f"u{number}", f"a{number}") for number in range(9))
    memory.add(turn("u9", "a9"))
    memory.add(turn("u10", "a10"))
    assert [kept.user_text for kept in memory.turns] == [f"u{number}" for number in range(1, 11)]
    assert len(memory.messages()) == 20


def test_messages_alternate_from_the_user_on() -> None:
    memory = ShortTermMemory([turn("a", ""), turn("b", " "), turn("c", "yes"), turn("d", "no")])
    assert memory.messages() == [
        Message("user", "a\nb\nc"),
        Message("assistant", "yes"),
        Message("user", "d"),
        Message("assistant", "no"),
    ]


def test_replacing_forgets_what_was() -> None:
    memory = ShortTermMemory([turn("a", "b")])
    memory.replace([turn("c", "d")])
    assert memory.turns == (turn("c", "d"),)
