"""Promises of the words: every term of the glossary is used, and no identifier is made of a banned word.

It owns the comparison of docs/glossary.md with the code; what the words mean is the page's to say.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from verification.repo.tree import REPO, files, matching, report, syntax_of, text_of

pytestmark = [pytest.mark.unit, pytest.mark.timeout(120)]
"""Limit (seconds): the first test of a run reads and parses every file."""

PAGE = Path("docs/glossary.md")
TERM = re.compile(r"^- \*\*(.+?)\*\* \(`([^`]+)`\):", re.MULTILINE)
BANNED = re.compile(r"^\| `(\w+)` \| [^|]+ \|$", re.MULTILINE)
READERS = ("pipecatapp/**/*.py", "ansible/**/*.py", "ansible/**/*.yaml", "docs/*.md", "README.md")
"""Where a term may be used."""
MIN_TERMS = 50


@cache
def terms() -> tuple[tuple[str, str], ...]:
    """Return each term of the glossary with the path that it names."""
    return tuple(TERM.findall(text_of(PAGE) or ""))


@cache
def banned() -> tuple[str, ...]:
    """Return the words that no identifier may be made of."""
    return tuple(BANNED.findall(text_of(PAGE) or ""))


def words_of(identifier: str) -> str:
    """Return an identifier in small letters, its words between underscores."""
    return f"_{re.sub(r'(?<=[a-z0-9])(?=[A-Z])', '_', identifier).lower().strip('_')}_"


def identifiers(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the names that a module defines, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id if isinstance(node, ast.Name) else node.attr


def banned_uses(tree: ast.Module, words: tuple[str, ...]) -> list[tuple[int, str]]:
    """Return the lines and names of a module's identifiers that are made of one of the words."""
    return [
        (line, name)
        for line, name in identifiers(tree)
        if any(f"_{word}_" in words_of(name) for word in words)
    ]


def test_the_glossary_is_read() -> None:
    assert len(terms()) >= MIN_TERMS
    assert len(banned()) >= 20


def test_no_term_is_explained_twice() -> None:
    names = [term for term, _ in terms()]
    assert len(names) == len(set(names))


def test_every_place_of_the_glossary_is_there() -> None:
    faults = [f"{term}: there is no {path}" for term, path in terms() if not (REPO / path).exists()]
    assert not faults, report(faults)


def test_every_term_of_the_glossary_is_used() -> None:
    texts = [text_of(path) or "" for path in matching(*READERS) if path != PAGE]
    faults = [
        f"nobody uses '{term}'"
        for term, _ in terms()
        if not any(re.search(rf"\b{re.escape(term)}(?:s|es)?\b", text, re.IGNORECASE) for text in texts)
    ]
    assert not faults, report(faults)


def test_no_identifier_is_made_of_a_banned_word() -> None:
    faults = [
        f"{path}:{line} defines {name}"
        for path in matching("pipecatapp/**/*.py")
        for line, name in banned_uses(syntax_of(path), banned())
    ]
    faults += [
        f"{path} is called by a banned word"
        for path in files()
        if path.parts[0] == "pipecatapp" and path.suffix == ".py"
        if any(f"_{word}_" in words_of(path.stem) for word in banned())
    ]
    assert not faults, report(faults)


@pytest.mark.parametrize(
    "source", ["class GoingOn: ...", "def is_going_on(): ...", "def f(going_on): ...", "self._going_on = 1"]
)
def test_the_check_sees_a_banned_word(source: str) -> None:
    assert banned_uses(ast.parse(source), ("going_on",))


def test_the_check_lets_other_words_be() -> None:
    assert banned_uses(ast.parse("ongoing = forgoing_one = 1"), ("going_on",)) == []
