"""What a voice is given to say: a written text in words of the voice's language.

It owns the order of things: marks off, then what a language says otherwise than it writes, then signs and
punctuation. One text or a piece of one goes in; words come out, and "" where nothing can be said.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from pipecatapp.speech.languages import language_of
from pipecatapp.speech.markup import Kind, split_lines
from pipecatapp.speech.rules import find, replace

_SENTENCE_END = re.compile(r"(?<=[.!?;:\u3002\uff01\uff1f\u0964])[\"')\]]*\s+")
_ENDED = re.compile(r"[.!?;:,\u2026\u3002\uff0c\uff01\uff1f\u0964\u060c\u061f]$")
_QUOTES = dict.fromkeys(map(ord, '"\u201c\u201d\u201e\u00ab\u00bb\u2039\u203a`'), " ")
_BRACKET = "\ue000"
"""Stands for a bracket until it is known whether words follow it."""
_PAUSES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), by)
    for pattern, by in (
        (r"[\u2018\u2019\u02bc]", "'"),
        (r"(?:\.{2,}|\u2026)(?=\s*(?:[A-Z]|$))", ". "),
        (r"\.{2,}|\u2026", ", "),
        (r"[()\[\]{}|]", _BRACKET),
        (r"(?<!\w)'(?=\w)(?!'s\b)|(?<=[\w.,!?])'(?!\w)", " "),
        (r"\s+[-\u2013\u2014/]+\s+|\u2014|-{2,}|\s*(?:->|=>|\u2192|\u21d2|\u2190)\s*", ", "),
        (r"(?<!\w)-+(?=\w)|(?<=\w)-+(?!\w)", " "),
        (r"[\u2010\u2011\u2013]", "-"),
        (r"[/\\_*~^<>#\u2022]+", " "),
    )
)
_TIDY: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), by)
    for pattern, by in (
        (rf"^[\s{_BRACKET}]+|[\s{_BRACKET}]+$", ""),
        (rf"\s*{_BRACKET}\s*", ", "),
        (r"\s+", " "),
        (r"(?:^|(?<=[\s.!?;:,]))'+(?=[\s,.;:!?]|$)", " "),
        (r"\s+([,.;:!?])", r"\1"),
        (r"([,;:])(?:\s*[,;:])+", r"\1"),
        (r"[,;:]+\s*([.!?])", r"\1"),
        (r"([.!?])\s*[,;:]+", r"\1"),
        (r"([!?])[.!?]+", r"\1"),
        (r"\.{2,}|\.(?:\s+\.)+", "."),
        (r"^[\s,.;:!?-]+", ""),
        (r"\s+", " "),
    )
)
_SUBSCRIPTS = {0x2080 + digit: str(digit) for digit in range(10)}
_DROPPED = frozenset(("So", "Sk", "Cf", "Cc", "Cs", "Co", "Cn", "Me"))
"""Unicode's categories of what has no sound of its own: emoji and their parts, marks, controls."""


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence of words, and whether a line of the text ends with it."""

    words: str
    ends_line: bool


class SpokenText:
    """Puts texts into words.

    Args:
        tag: The voice's language as in BCP 47, such as "en-US"; "" for one that is not known, of which only
            marks are taken off.
    """

    def __init__(self, tag: str) -> None:
        self._language = language_of(tag)

    def words(self, text: str) -> str:
        """Return `text`, or a piece of one, in words; "" where nothing of it can be said."""
        return " ".join(sentence.words for sentence in self.sentences(text))

    def sentences(self, text: str) -> list[Said]:
        """Return `text` in words, a sentence each; code has none."""
        said = []
        for line in split_lines(text):
            words = self._line(line.text)
            if not any(character.isalnum() for character in words):
                continue
            if line.is_ended or line.kind is Kind.OWN:
                words = words if _ENDED.search(words) else f"{words}."
            parts = [part for part in _SENTENCE_END.split(words) if any(map(str.isalnum, part))]
            said += [
                Said(part, line.is_ended and index == len(parts) - 1) for index, part in enumerate(parts)
            ]
        return said

    def is_cut_by(self, text: str, at: int) -> bool:
        """Return whether a cut of `text` before character `at` goes through something that is said as one."""
        return any(one.start < at < one.end for one in find(text, self._language.rules))

    def length(self, text: str) -> int:
        """Return how long `text` takes to say, in words."""
        return len(self.words(text).split())

    def _line(self, text: str) -> str:
        text = unicodedata.normalize("NFC", text).translate(_SUBSCRIPTS)
        words = replace(text, self._language.rules, self._signs)
        for pattern, by in _TIDY:
            words = pattern.sub(by, words)
        return words.strip()

    def _signs(self, text: str) -> str:
        """Return what no rule has found: signs by their name, pauses as commas, the rest as it is."""
        text = text.translate(_QUOTES)
        for pattern, by in _PAUSES:
            text = pattern.sub(by, text)
        signs = self._language.signs
        named = (f" {signs[character]} " if character in signs else character for character in text)
        return "".join(
            "" if unicodedata.category(one[0]) in _DROPPED and one != _BRACKET else one for one in named
        )
