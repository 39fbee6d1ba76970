"""Cuts an answer that is still being written into pieces worth speaking.

It owns where to cut; speaking a piece belongs to `speaking`. The first piece is short, because
every word of it is waited for; later ones are whole clauses, because the voice sounds better so.
"""

from __future__ import annotations

import re

FIRST_PIECE_WORDS = 4
"""Words of the first piece when no punctuation comes sooner.

They are 1.2 s of speech, which covers the making of the next piece; each further word costs about 60 ms
before the first sound (docs/latency.md).
"""
FIRST_CLAUSE_WORDS = 2
"""Fewest words before a comma that make a first piece."""
CLAUSE_WORDS = 5
"""Fewest words before a comma that make a later piece."""
LONGEST_PIECE_WORDS = 16
"""Words after which a later piece is cut even in mid-phrase."""

_SENTENCE_END = re.compile(r"[.!?][\"')\]]*(?=\s)|\n")
_CLAUSE_END = re.compile(r"[,;:][\"')\]]*(?=\s)")
_ABBREVIATION = re.compile(r"(?:\b(?:Mr|Mrs|Ms|Dr|St|vs|etc|e\.g|i\.e|a\.m|p\.m|No)|\b[A-Z]|\d)\.$")


class ClauseCutter:
    """Takes an answer piece by piece and gives back what can be spoken."""

    def __init__(self) -> None:
        self._buffer = ""
        self._given = 0

    def feed(self, text: str) -> list[str]:
        """Add `text` and return the pieces that are complete, each with its trailing space."""
        self._buffer += text
        pieces = []
        while (cut := self._cut_at()) > 0:
            piece, self._buffer = self._buffer[:cut], self._buffer[cut:].lstrip()
            if piece.strip():
                pieces.append(piece.strip() + " ")
                self._given += 1
        return pieces

    def flush(self) -> list[str]:
        """Return what is left."""
        rest, self._buffer = self._buffer.strip(), ""
        return [rest] if rest else []

    def _cut_at(self) -> int:
        """Return after how many characters to cut, or 0 to wait for more."""
        first = self._given == 0
        for match in _SENTENCE_END.finditer(self._buffer):
            head = self._buffer[: match.end()]
            if not _ABBREVIATION.search(head.rstrip()):
                clause = self._clause_cut(head, first)
                return clause or match.end()
        clause = self._clause_cut(self._buffer, first)
        if clause:
            return clause
        words = self._buffer.split()
        limit = FIRST_PIECE_WORDS if first else LONGEST_PIECE_WORDS
        # A sentence that is whole already is worth the few words more: the next piece of text, or the end,
        # releases it at once. Otherwise one more word must have begun, else the last one may still grow.
        is_whole = self._buffer.rstrip().endswith((".", "!", "?")) and len(words) <= LONGEST_PIECE_WORDS
        if len(words) > limit and not is_whole:
            return _end_of_word(self._buffer, limit)
        return 0

    def _clause_cut(self, text: str, first: bool) -> int:
        fewest = FIRST_CLAUSE_WORDS if first else CLAUSE_WORDS
        for match in _CLAUSE_END.finditer(text):
            if len(text[: match.end()].split()) >= fewest:
                return match.end()
        return 0


def _end_of_word(text: str, count: int) -> int:
    """Return the offset behind the `count`-th word of `text`."""
    end = 0
    for number, match in enumerate(re.finditer(r"\S+", text), start=1):
        end = match.end()
        if number == count:
            break
    return end


_MARKUP = re.compile(r"[*_`#>|~]+")
_BULLET = re.compile(r"(?m)^\s*(?:[-•]|\d+\.)\s+")


def speakable(text: str) -> str:
    """Return `text` without the marks that a voice would stumble over, in single spaces."""
    return " ".join(_MARKUP.sub(" ", _BULLET.sub("", text)).split())
