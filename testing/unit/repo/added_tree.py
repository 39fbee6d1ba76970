"""A copy of the checkout that a test may add to, and the checks run in it.

It owns the copy; what is added is a test's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from testing.run.suites import ROOT, files

LEFT_OUT = ("testing/recordings/", "docs/images/", "testing/data/")
"""Folders that no check of an addition reads."""
CHECK = """\
import sys
from pathlib import Path
import pytest
from verification.reference.pages import QUICK, made
RAN_BEFORE = "ignore::pytest.PytestAssertRewriteWarning"
repo = Path.cwd()
old = []
for path, words in made(repo, QUICK).items():
    if (repo / path).read_text(encoding="utf-8") != words:
        old.append(path.name)
        (repo / path).write_text(words, encoding="utf-8")
print("STALE", *sorted(old), flush=True)
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-W", RAN_BEFORE, *sys.argv[1:]]))
"""
"""Says which reference pages are stale, makes them anew, and runs tests; in one process, for speed."""
TIMEOUT_S = 100


class AddedTree:
    """The files of the checkout in a folder of their own.

    Args:
        folder: Where; it must not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in files():
            if not name.startswith(LEFT_OUT):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        # What counts as a file of the repository is git's to say.
        subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
        self._before = self._contents()

    def add(self, texts: Mapping[str, str]) -> None:
        """Write new files."""
        for name, text in texts.items():
            path = self.folder / name
            assert not path.exists(), f"{name} is there already"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def change(self, name: str, before: str, text: str) -> None:
        """Insert `text` before what stands in a file exactly once."""
        path = self.folder / name
        old = path.read_text(encoding="utf-8")
        assert old.count(before) == 1, f"{name} has {before!r} {old.count(before)} times"
        path.write_text(old.replace(before, text + before), encoding="utf-8")

    def touched(self) -> set[str]:
        """Return the files that were added or changed."""
        return {name for name, data in self._contents().items() if self._before.get(name) != data}

    def check(self, *arguments: str) -> list[str]:
        """Make the reference pages anew and run tests; return the pages that were stale.

        Args:
            arguments: For pytest.
        """
        done = self.run(sys.executable, "-c", CHECK, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return next(line for line in done.stdout.splitlines() if line.startswith("STALE")).split()[1:]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program in the copy, with its packages and no settings of this shell."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TWIN_", "PYTEST"))}
        here = {"PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(
            command,
            cwd=self.folder,
            env=kept | here,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def _contents(self) -> dict[str, bytes]:
        return {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file() and ".git/" not in path.as_posix() and "__pycache__" not in path.parts
        }
