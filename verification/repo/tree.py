"""The files of the repository, for the checks beside this module.

It owns how they are read; what counts as a file of ours is `testing/run/suites.py`'s, what they must be, the
checks say.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from testing.run import suites

REPO = suites.ROOT
"""The checkout."""


@cache
def files() -> tuple[Path, ...]:
    """Return every file, relative to the checkout, sorted."""
    return tuple(sorted(Path(name) for name in suites.files()))


def matching(*patterns: str) -> list[Path]:
    """Return the files that match one of the glob patterns (`pipecatapp/**/*.py`)."""
    wanted = {path for pattern in patterns for path in REPO.glob(pattern)}
    return [path for path in files() if REPO / path in wanted]


@cache
def text_of(path: Path) -> str | None:
    """Return a file's text, or None when it is not UTF-8 text."""
    data = (REPO / path).read_bytes()
    if b"\0" in data:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


@cache
def syntax_of(path: Path) -> ast.Module:
    """Return a Python file's syntax tree."""
    return ast.parse(text_of(path) or "", filename=str(path))


def lines_with(path: Path) -> list[tuple[int, str]]:
    """Return a text file's lines with their numbers, from 1; nothing for a binary file."""
    return list(enumerate((text_of(path) or "").splitlines(), start=1))


def report(faults: list[str]) -> str:
    """Return faults one a line, for an assertion's message."""
    return "\n" + "\n".join(faults)
