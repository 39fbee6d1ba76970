"""The last turns of a conversation, as a prompt sees them.

It owns how many turns a prompt holds and how they become messages; keeping them for good is the
memory store's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from pipecatapp.ports import Message, StoredTurn

SHORT_TERM_TURNS = 10
"""Turns that a prompt remembers word for word (the mission's number)."""


class ShortTermMemory:
    """A conversation's last turns, oldest first.

    Args:
        turns: What was already said; only the newest are kept.
        limit: How many turns are kept, > 0.
    """

    def __init__(self, turns: Iterable[StoredTurn] = (), *, limit: int = SHORT_TERM_TURNS) -> None:
        self._turns: deque[StoredTurn] = deque(turns, maxlen=limit)

    @property
    def turns(self) -> tuple[StoredTurn, ...]:
        """The kept turns."""
        return tuple(self._turns)

    def add(self, turn: StoredTurn) -> None:
        """Keep a finished turn; the oldest goes when there are too many."""
        self._turns.append(turn)

    def replace(self, turns: Iterable[StoredTurn]) -> None:
        """Forget what was kept and keep `turns`."""
        self._turns.clear()
        self._turns.extend(turns)

    def messages(self) -> list[Message]:
        """Return the turns as messages that alternate, user first.

        A turn that was cut before a word was said has no answer; its question is joined to the next one,
        because chat templates refuse two user messages in a row.
        """
        messages: list[Message] = []
        for turn in self._turns:
            for role, text in (("user", turn.user_text), ("assistant", turn.assistant_text)):
                if not text.strip():
                    continue
                if messages and messages[-1].role == role:
                    text = f"{messages.pop().content}\n{text}"
                messages.append(Message("user" if role == "user" else "assistant", text))
        return messages
