"""The last turns of a conversation, as a prompt sees them.

It owns how many turns a prompt holds and how they become messages; keeping them for good is the
memory store's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pipecatapp.ports import Message, StoredTurn

SHORT_TERM_TURNS = 10
"""Turns that a prompt remembers word for word (the mission's number)."""
SLIDE_TURNS = 5
"""Turns that are forgotten at once.

A prompt that lost its oldest turn each time would begin anew each time, and the model's server would read
all of it again; so it grows by this many and then loses them together.
"""
KEPT_TURNS = SHORT_TERM_TURNS + SLIDE_TURNS - 1
"""Most turns that are kept."""


class ShortTermMemory:
    """A conversation's last turns, oldest first: at least `SHORT_TERM_TURNS`, at most `KEPT_TURNS`.

    Args:
        turns: What was already said; only the newest are kept.
    """

    def __init__(self, turns: Iterable[StoredTurn] = ()) -> None:
        self._turns: list[StoredTurn] = []
        self.replace(turns)

    @property
    def turns(self) -> tuple[StoredTurn, ...]:
        """The kept turns."""
        return tuple(self._turns)

    def add(self, turn: StoredTurn) -> None:
        """Keep a finished turn; the oldest go when there are too many."""
        self._turns.append(turn)
        if len(self._turns) > KEPT_TURNS:
            del self._turns[:SLIDE_TURNS]

    def replace(self, turns: Iterable[StoredTurn]) -> None:
        """Keep `turns` instead, from the oldest that was kept before if it is among them."""
        newest = list(turns)[-KEPT_TURNS:]
        ids = [turn.turn_id for turn in newest]
        oldest = self._turns[0].turn_id if self._turns else ""
        start = ids.index(oldest) if oldest in ids else max(0, len(newest) - SHORT_TERM_TURNS)
        self._turns = newest[start:]

    def messages(self, answer_of: Callable[[str], str] = str) -> list[Message]:
        """Return the turns as messages that alternate, user first.

        Args:
            answer_of: What of an answer is shown; a turn of whose answer nothing is left is left out.

        A turn that was cut before a word was said has no answer; its question is joined to the next one,
        because chat templates refuse two user messages in a row.
        """
        messages: list[Message] = []
        for turn in self._turns:
            answer = answer_of(turn.assistant_text)
            if turn.assistant_text and not answer:
                continue
            for role, text in (("user", turn.user_text), ("assistant", answer)):
                if not text.strip():
                    continue
                if messages and messages[-1].role == role:
                    text = f"{messages.pop().content}\n{text}"
                messages.append(Message("user" if role == "user" else "assistant", text))
        return messages
