"""What a rule of speech is, and how rules divide a text among themselves.

A rule finds a stretch of text and says it in words; the first rule of a list that finds a stretch keeps it.
Not here: the rules of a language (`english`, `other_languages`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of thing that is written otherwise than it is said.

    Args:
        pattern: Where it stands.
        say: Returns its words, or None where the pattern found something else.
    """

    pattern: re.Pattern[str]
    say: Callable[[re.Match[str]], str | None]


def rule(pattern: str, say: Callable[[re.Match[str]], str | None]) -> Rule:
    """Return the rule of a pattern that is not compiled yet."""
    return Rule(re.compile(pattern), say)


@dataclass(frozen=True, slots=True)
class Found:
    """A stretch of a text, from `start` to before `end`, and how it is said."""

    start: int
    end: int
    words: str


def find(text: str, rules: Sequence[Rule]) -> list[Found]:
    """Return what the rules find in `text`, in its order; no two stretches overlap."""
    is_taken = bytearray(len(text))
    found = []
    for one in rules:
        for match in one.pattern.finditer(text):
            start, end = match.span()
            if start == end or any(is_taken[start:end]) or (words := one.say(match)) is None:
                continue
            is_taken[start:end] = b"\x01" * (end - start)
            found.append(Found(start, end, words))
    return sorted(found, key=lambda one: one.start)


def replace(text: str, rules: Sequence[Rule], rest: Callable[[str], str]) -> str:
    """Return `text` in words: what rules find as they say it, between spaces, and all else by `rest`."""
    pieces, at = [], 0
    for one in find(text, rules):
        before, after = text[at : one.start], text[one.end : one.end + 1]
        pieces.append(rest(before))
        if at and not before or before[-1:].isalnum():
            pieces.append(" ")
        pieces.append(one.words)
        if after.isalnum():
            pieces.append(" ")
        at = one.end
    pieces.append(rest(text[at:]))
    return "".join(pieces)
