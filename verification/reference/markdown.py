"""Pieces of Markdown that generated pages are made of.

It owns escaping and the form of a page; what stands in it is its own module's.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence

WIDTH = 120
"""Longest line of a paragraph (characters); the linter takes 130."""
BLOCK = re.compile(r"<!-- generated: (.+?) -->\n(?:.*?\n)??<!-- end -->", re.DOTALL)
"""A part of a page that is generated, in one that people write."""


def page(title: str, source: str, *parts: str) -> str:
    """Return a page that is generated as a whole.

    Args:
        title: Its heading.
        source: Where its words are changed, a phrase.
        parts: Paragraphs, headings and tables.
    """
    note = f"<!-- Made from {source}; change it there, then run scripts/reference. -->"
    return "\n\n".join((f"# {title}", note, *(part.strip("\n") for part in parts if part.strip()))) + "\n"


def paragraph(text: str) -> str:
    """Return a paragraph, its lines broken."""
    return textwrap.fill(" ".join(text.split()), WIDTH, break_long_words=False, break_on_hyphens=False)


def cell(text: object) -> str:
    """Return a text as it may stand in a table."""
    return " ".join(str(text).split()).replace("|", "\\|")


def code(text: object) -> str:
    """Return a text as code, "" for none."""
    return f"`{text}`" if str(text) else ""


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; "" without a row."""
    lines = ["|" + "".join(f" {cell(each)} |" if cell(each) else " |" for each in row) for row in rows]
    if not lines:
        return ""
    return "\n".join((f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *lines))


def with_blocks(text: str, blocks: Mapping[str, str]) -> str:
    """Return a written page with each of its generated blocks made anew.

    Raises:
        ValueError: The page has no place for a block, or one for an unknown block.
    """
    places = [match[1] for match in BLOCK.finditer(text)]
    if set(places) != set(blocks):
        raise ValueError(f"the page has places for {sorted(places)}, there is {sorted(blocks)}")

    def made(match: re.Match[str]) -> str:
        return f"<!-- generated: {match[1]} -->\n\n{blocks[match[1]]}\n\n<!-- end -->"

    return BLOCK.sub(made, text)
