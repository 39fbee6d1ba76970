"""Markdown and HTML taken off a text, so that its words are left.

It owns marks, links, tables and code, of a whole text or of a piece of one: rules of lines and not a parser,
which would take the second half of a sentence for something else than it is. Not here: numbers and signs.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from enum import Enum

WRAPPED_CHARS = 40
"""A line of at least so many characters may be a wrapped one, whose sentence goes on in the next line."""

_FENCE = re.compile(r"\s*(?:>\s*)*(?:(?:[-*+]|\d{1,3}[.)])\s+)?(`{3,}|~{3,})([^`]*)$")
_NO_WORDS = re.compile(
    r"\s*(?:\|?\s*:?-{2,}:?\s*(?:\|\s*:?-+:?\s*)*\|?"  # the line below a table's head
    r"|(?:[-*_=]\s*){3,}"  # a rule, the line below a heading
    r"|\[[^\]]+\]:\s+\S+.*)"  # the address of a link that stands elsewhere
)
_HEADING = re.compile(r"\s{0,3}#{1,6}\s+(.*?)\s*#*\s*")
_QUOTE = re.compile(r"\s*(?:>\s?)+")
ITEM = re.compile(r"\s*(?:[-*+\u2022\u2023\u25e6\u2043\u2013\u2014]|\(?\d{1,2}[.)])\s+(?:\[[ xX]\]\s+)?")
INDENTED = re.compile(r"(?: {4}|\t)\s*\S")
_INLINE: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), by)
    for pattern, by in (
        (r"<!--.*?-->", ""),
        (r"<((?:https?|mailto):[^<>\s]+)>", r"\1"),
        (r"</?[A-Za-z][^<>]{0,2000}>", " "),
        (r"!?\[([^\[\]]{0,200})\]\((?:[^()\s]|\([^()]{0,200}\)){0,2000}(?:\s+[\"'][^\"']*[\"'])?\)", r"\1"),
        (r"\[\^[^\]]{1,100}\]", ""),
        (r"!?\[([^\[\]]{1,200})\]\[[^\]]{0,200}\]", r"\1"),
        (r"(?<=[\w.])\[\d+\](?!\()", ""),  # [1], a note's number
        (r"`+", ""),
        (r"(?<!\d)\*{2,3}|\*{2,3}(?!\d)|__(?=\w)|(?<=\S)__(?!\w)|~~", ""),
        (r"(?<![\w*\\])\*(?=[^\s*])|(?<=[^\s*\\])\*(?![\w*])", ""),
        (r"(?<!\w)_(?=\w)|(?<=[\w.!?,;:])_(?!\w)", ""),
        (r"\\([!-/:-@\[-`{-~])", r"\1"),
    )
)


class Kind(Enum):
    """What a line is."""

    PLAIN = "plain"
    OWN = "own"
    """It stands for itself: a heading, an item of a list, a row of a table."""


@dataclass(slots=True)
class Line:
    """A line without its marks."""

    text: str
    kind: Kind
    is_ended: bool
    """A line's end came behind it, so that the voice pauses there."""


def split_lines(text: str) -> list[Line]:
    """Return the lines of `text` that have words, wrapped ones joined, without marks and code."""
    kept: list[Line] = []
    raw = html.unescape(text).replace("\r\n", "\n").split("\n")
    fence, was_blank, was_code, in_list = "", False, False, False
    for number, line in enumerate(raw):
        is_ended = number < len(raw) - 1
        mark = _FENCE.fullmatch(line)
        if fence:
            if mark and mark[1].startswith(fence) and not mark[2].strip():
                fence = ""
            continue
        if mark:
            fence = mark[1]
            continue
        if not line.strip():
            was_blank = True
            continue
        # A piece of an answer begins with an indented line only where that is code.
        begins_code = number == 0 or (was_blank and not in_list)
        was_code = bool(INDENTED.match(line)) and (was_code or begins_code)
        in_list = bool(ITEM.match(line)) or (in_list and line[0].isspace())
        if not was_code and not _NO_WORDS.fullmatch(line):
            _keep(kept, Line(*_plain(line), is_ended), is_new=was_blank)
        was_blank = False
    return [line for line in kept if line.text]


def _keep(kept: list[Line], line: Line, *, is_new: bool) -> None:
    """Add a line, or the rest of a sentence that was wrapped at the last one's end."""
    last = kept[-1] if kept else None
    if (
        last is not None
        and not is_new
        and line.kind is Kind.PLAIN
        and len(last.text) >= WRAPPED_CHARS
        and (line.text[:1].islower() or last.text.endswith(",") or line.text[:1].isdigit())
    ):
        last.text, last.is_ended = f"{last.text} {line.text}", line.is_ended
    else:
        kept.append(line)


def _plain(line: str) -> tuple[str, Kind]:
    kind = Kind.PLAIN
    if heading := _HEADING.fullmatch(line):
        line, kind = heading[1], Kind.OWN
    line = _QUOTE.sub("", line, count=1) if _QUOTE.match(line) else line
    if item := ITEM.match(line):
        line, kind = line[item.end() :], Kind.OWN
    if line.lstrip().startswith("|") or " | " in line:
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        line, kind = ", ".join(cell for cell in cells if cell), Kind.OWN
    return without_marks(line).strip(), kind


def without_marks(line: str) -> str:
    """Return a line's text without marks of emphasis and code, tags and addresses of links."""
    for pattern, by in _INLINE:
        line = pattern.sub(by, line)
    return line
