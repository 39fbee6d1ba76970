"""The generated pages: where each is, and what it should say now.

It owns the list; each page's form is a module beside this one.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping
from pathlib import Path

from testing.run import suites

REPO = suites.ROOT
FOLDER = Path("docs/reference")
PAGES = {
    "settings.md": "settings",
    "command-line.md": "command_line",
    "api.md": "http_api",
    "engines.md": "engines",
    "jobs.md": "jobs",
    "roles.md": "roles",
}
"""Each page and the module beside this one that makes it, by `text(repo)`."""
QUICK = frozenset(PAGES) - {"command-line.md", "api.md"}
"""Those for which neither every command nor the web is imported."""


def made(repo: Path, names: Collection[str] = PAGES.keys()) -> Mapping[Path, str]:
    """Return pages of a checkout as they should be.

    Args:
        repo: The checkout.
        names: Which.
    """
    return {
        FOLDER / name: importlib.import_module(f"verification.reference.{module}").text(repo)
        for name, module in PAGES.items()
        if name in names
    }


def stale(repo: Path) -> list[Path]:
    """Return the pages that are not as they should be."""
    return [
        path
        for path, words in made(repo).items()
        if not (repo / path).is_file() or (repo / path).read_text(encoding="utf-8") != words
    ]
