"""The files of the repository, for the checks beside this module.

It owns what counts as a file of ours: tracked, or new and not ignored. What they must be, the checks say.
"""

from __future__ import annotations

import ast
import subprocess
from functools import cache
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
"""The checkout."""


@cache
def files() -> tuple[Path, ...]:
    """Return every file, relative to the checkout, sorted."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPO,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    found = sorted({Path(name) for name in listed.split("\0") if name})
    return tuple(path for path in found if (REPO / path).is_file())


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
