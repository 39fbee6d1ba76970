"""Aggregates the tokens of a streamed reply into clauses worth speaking.

It owns where to cut; speaking a piece belongs to `tts_stage`, and what its words are to `speech`. The first
piece is short, because every word of it is waited for; later ones are whole clauses, because the voice sounds
better so. A cut never goes through what is said as one ("$37" and ".60", "5" and "km", a link), nor through a
block of code.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from pipecatapp.speech.markup import INDENTED, ITEM

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
_ABBREVIATION = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|Mt|Ft|Gen|Col|Capt|Lt|Sgt|Maj|Gov|Sen|Rev|Hon|vs|etc|e\.g|i\.e|a\.m|p\.m|approx|"
    r"ca|cf|fig|Fig|vol|Vol|Jr|Sr|Inc|Ltd|Co|No|Nr|pp|p|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)|\b[A-Z]|\d)\.$"
)
_FENCE = re.compile(r"[ \t]*(?:>[ \t]*)*(?:(?:[-*+]|\d{1,3}[.)])[ \t]+)?(`{3,}(?![^\n]*`)|~{3,})")
_MAYBE_FENCE = re.compile(r"[ \t]*(?:>[ \t]*)*(?:(?:[-*+]|\d{1,3}[.)])[ \t]+)?(?:`{1,2}|~{1,2})?\Z")
_OPEN_LINK = re.compile(r"!?\[[^\]\n]*$|\]\([^)\n]*$")
_LINE_MARK = re.compile(r"(?:[-*+\u2022>]|#{1,6}|\d{1,3}[.)])(?:\s|$)")


class ClauseAggregator:
    """Takes an answer piece by piece and gives back what can be spoken.

    Args:
        is_cut_by: Returns whether a cut of a text before its n-th character goes through what is said as one.
    """

    def __init__(self, is_cut_by: Callable[[str, int], bool] = lambda text, at: False) -> None:
        self._is_cut_by = is_cut_by
        self._buffer = ""
        self._given = 0
        self._begins_line = True
        self._is_blank_before = self._is_in_list = self._is_code_before = False

    def feed(self, text: str) -> list[str]:
        """Add `text` and return the pieces that are complete, each with its trailing space or line's end."""
        self._buffer += text
        pieces = []
        while (cut := self._cut_at()) > 0:
            piece, rest = self._buffer[:cut], self._buffer[cut:].lstrip(" \t")
            ends_line = piece.endswith("\n") or rest.startswith("\n")
            if not piece.endswith("\n"):
                rest = rest.removeprefix("\n")
            # What a line begins with is kept: it may be code.
            self._buffer = self._buffer[cut:] if piece.endswith("\n") else rest
            self._note_line(piece)
            self._begins_line = ends_line
            if piece.strip():
                whole = piece.rstrip() if self._is_code_before else piece.strip()
                pieces.append(whole + ("\n" if ends_line else " "))
                self._given += 1
        return pieces

    def flush(self) -> list[str]:
        """Return what is left."""
        rest, self._buffer = self._buffer, ""
        is_code = self._begins_line and self._is_code_line(rest)
        rest = rest.rstrip() if is_code else rest.strip()
        return [rest] if rest else []

    def _note_line(self, piece: str) -> None:
        """Remember of a line's beginning what says whether an indented line that follows is code."""
        if not self._begins_line:
            return
        if not piece.strip():
            self._is_blank_before = True
            return
        self._is_code_before = self._is_code_line(piece)
        self._is_in_list = bool(ITEM.match(piece)) or (self._is_in_list and piece[0].isspace())
        self._is_blank_before = False

    def _is_code_line(self, line: str) -> bool:
        begins_code = self._is_blank_before and not self._is_in_list
        return INDENTED.match(line) is not None and (self._is_code_before or begins_code)

    def _cut_at(self) -> int:
        """Return after how many characters to cut, or 0 to wait for more."""
        if self._begins_line and self._is_code_line(self._buffer):
            return self._buffer.find("\n") + 1
        if self._begins_line and (_MAYBE_FENCE.match(self._buffer) or _FENCE.match(self._buffer)):
            return self._code_end()
        first = self._given == 0
        for match in _SENTENCE_END.finditer(self._buffer):
            head = self._buffer[: match.end()]
            if match[0] == "\n" or not (_ABBREVIATION.search(head.rstrip()) or self._is_through(match.end())):
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
        if is_whole:
            return 0
        for count in range(limit, len(words)):
            at = _end_of_word(self._buffer, count)
            if self._is_fair(at):
                return at
            if not self._is_known(at):
                return 0
        return 0

    def _clause_cut(self, text: str, first: bool) -> int:
        fewest = FIRST_CLAUSE_WORDS if first else CLAUSE_WORDS
        for match in _CLAUSE_END.finditer(text):
            if len(text[: match.end()].split()) >= fewest and self._is_fair(match.end()):
                return match.end()
        return 0

    def _code_end(self) -> int:
        """Return where the block of code ends that the buffer begins with, or 0 while it does not."""
        opening = _FENCE.match(self._buffer)
        if opening is None:
            return 0
        closing = re.compile(rf"\n[ \t]*(?:>[ \t]*)*{re.escape(opening[1])}[`~]*[ \t]*(?=\n)")
        end = closing.search(self._buffer, opening.end())
        return end.end() + 1 if end else 0

    def _is_fair(self, at: int) -> bool:
        """Return whether a cut before character `at` leaves whole what is said as one."""
        is_mark = _LINE_MARK.match(self._buffer[at:].lstrip()) is not None
        return not is_mark and self._is_known(at) and not self._is_through(at)

    def _is_through(self, at: int) -> bool:
        return _OPEN_LINK.search(self._buffer[:at]) is not None or self._is_cut_by(self._buffer, at)

    def _is_known(self, at: int) -> bool:
        """Return whether enough of the next word is there to see that it is another thing."""
        head, rest = self._buffer[:at].rstrip(), self._buffer[at:].lstrip()
        last = head.split()[-1:] or [""]
        if any(character.isdigit() for character in last[0]):
            wanted = 2
        elif rest[:1].islower() or not rest:
            wanted = 0
        else:
            wanted = 1
        return len(re.findall(r"\S+(?=\s)", rest)) >= wanted


def _end_of_word(text: str, count: int) -> int:
    """Return the offset behind the `count`-th word of `text`."""
    end = 0
    for number, match in enumerate(re.finditer(r"\S+", text), start=1):
        end = match.end()
        if number == count:
            break
    return end
