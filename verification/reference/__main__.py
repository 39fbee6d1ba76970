"""Writes the pages of docs/reference, or says which are stale; `scripts/reference` calls it.

It owns the command; what a page says is `pages`' and the other modules'.
"""

from __future__ import annotations

import sys
from pathlib import Path

from verification.reference.pages import REPO, made, stale


def main(arguments: list[str]) -> int:
    """Write the pages, or with `--check` only compare; return the exit status."""
    if arguments == ["--check"]:
        old = stale(REPO)
        for path in old:
            sys.stderr.write(f"{path} is stale; run scripts/reference\n")
        return 1 if old else 0
    for path, words in made(REPO).items():
        file: Path = REPO / path
        if not file.is_file() or file.read_text(encoding="utf-8") != words:
            file.write_text(words, encoding="utf-8")
            sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
