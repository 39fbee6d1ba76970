"""Tracks how much of a reply has really been played to the user, to the word.

It owns the count of sound made and sent for each piece; a piece that was sent whole is reported by
pipecat, and one that was cut in its middle is measured here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class _Piece:
    text: str
    made_bytes: int = 0


class PlayoutTracker:
    """Compares the sound that was sent with the sound of each piece of an answer.

    Spoken words are taken to be as long as each other within a piece, whose few words make that a good guess;
    "$37.60" is three of them.

    Args:
        length_of: Returns of how many words the speech of a text is.
    """

    def __init__(self, length_of: Callable[[str], int] | None = None) -> None:
        self._length_of = length_of or (lambda text: len(text.split()))
        self._pieces: deque[_Piece] = deque()
        self._sent_bytes = 0

    def begin(self, text: str) -> None:
        """Note that the sound of a further piece is being made."""
        self._pieces.append(_Piece(text))

    def synthesized(self, count: int) -> None:
        """Note `count` bytes of sound of the piece that was begun last."""
        if self._pieces:
            self._pieces[-1].made_bytes += count

    def played(self, count: int) -> None:
        """Note that `count` bytes of sound were sent."""
        self._sent_bytes += count

    def completed(self) -> None:
        """Note that the oldest piece was sent whole."""
        if self._pieces:
            self._sent_bytes = max(0, self._sent_bytes - self._pieces.popleft().made_bytes)

    def partial_text(self) -> str:
        """Return what was sent of the oldest piece that was not sent whole; "" when nothing was."""
        if not self._pieces or not self._pieces[0].made_bytes:
            return ""
        piece = self._pieces[0]
        words = piece.text.split()
        heard = self._length_of(piece.text) * self._sent_bytes / piece.made_bytes
        count = 0
        while count < len(words) and self._length_of(" ".join(words[: count + 1])) <= heard:
            count += 1
        return " ".join(words[:count])

    def clear(self) -> None:
        """Forget everything: an answer is over."""
        self._pieces.clear()
        self._sent_bytes = 0
