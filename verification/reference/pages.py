"""The generated pages: where each is, and what it should say now.

It owns the list; each page's form is a module beside this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from testing.run import suites
from verification.reference import command_line, engines, http_api, jobs, roles, settings
from verification.reference.markdown import with_blocks

REPO = suites.ROOT
FOLDER = Path("docs/reference")


def made(repo: Path) -> Mapping[Path, str]:
    """Return every page of a checkout as it should be."""
    written = (repo / FOLDER / "settings.md").read_text(encoding="utf-8")
    source = (repo / "pipecatapp/settings.py").read_text(encoding="utf-8")
    return {
        FOLDER / "settings.md": with_blocks(written, settings.blocks(source)),
        FOLDER / "command-line.md": command_line.text(),
        FOLDER / "api.md": http_api.text(),
        FOLDER / "engines.md": engines.text(),
        FOLDER / "jobs.md": jobs.text(repo),
        FOLDER / "roles.md": roles.text(repo),
    }


def stale(repo: Path) -> list[Path]:
    """Return the pages that are not as they should be."""
    return [
        path
        for path, words in made(repo).items()
        if not (repo / path).is_file() or (repo / path).read_text(encoding="utf-8") != words
    ]
