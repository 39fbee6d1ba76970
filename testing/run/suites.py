"""The suites of tests: read from `testing/suites.yaml`, and the files that each depends on.

It owns the form of that file and the digest of a suite's inputs; running them is `schedule`'s.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
SUITES_FILE = ROOT / "testing" / "suites.yaml"
SETS = ("base", "full")
KEYS = {"set", "is", "inputs", "needs", "alone", "each"}


@dataclass(frozen=True, slots=True)
class Suite:
    """One suite.

    Args:
        name: `VERB`, or `VERB/PART` for one of many of a kind.
        set: `base` or `full`.
        claim: What it shows, in words.
        inputs: What it depends on, as `Inputs` reads it.
        needs: What has to be made before it can run.
        is_alone: Whether nothing else may run beside it.
    """

    name: str
    set: str
    claim: str
    inputs: tuple[str, ...]
    needs: tuple[str, ...] = ()
    is_alone: bool = False

    @property
    def command(self) -> list[str]:
        """The command line that runs it."""
        verb, _, part = self.name.partition("/")
        return [str(ROOT / "scripts" / "test"), verb, *(["--", part] if part else [])]

    def matches(self, path: str) -> bool:
        """Whether it depends on a file of the checkout."""
        return is_among(path, self.inputs)


@dataclass(frozen=True, slots=True)
class Suites:
    """All of them, in the order of the file, and what only linters and promises read.

    Args:
        suites: The suites by name.
        checked: Patterns of files that no other suite than `check` depends on.
    """

    suites: Mapping[str, Suite]
    checked: tuple[str, ...]

    def of(self, name: str) -> list[Suite]:
        """The suites of a set, in order."""
        return [suite for suite in self.suites.values() if suite.set == name]

    def touched_by(self, paths: Iterable[str]) -> list[Suite]:
        """The suites that depend on one of these files, in order."""
        changed = list(paths)
        return [suite for suite in self.suites.values() if any(suite.matches(path) for path in changed)]

    def without_a_suite(self, paths: Iterable[str]) -> list[str]:
        """The files that no suite but `check` depends on, and that are not said to be so."""
        others = [suite for suite in self.suites.values() if suite.inputs != ("*",)]
        return [
            path
            for path in paths
            if not is_among(path, self.checked) and not any(suite.matches(path) for suite in others)
        ]


def is_among(path: str, patterns: Sequence[str]) -> bool:
    """Whether a file is meant by patterns: a file, a folder, or a glob; `!` takes out what came before."""
    found = False
    for pattern in patterns:
        wanted = pattern.removeprefix("!")
        if path == wanted or path.startswith(f"{wanted}/") or fnmatchcase(path, wanted):
            found = not pattern.startswith("!")
    return found


def read(path: Path = SUITES_FILE, folders: Path = ROOT) -> Suites:
    """Read the suites.

    Args:
        path: The file.
        folders: Where `each` looks for its folders.

    Raises:
        ValueError: A key, a set or a group is unknown; with what is valid.
    """
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    groups: dict[str, list[str]] = document.get("groups", {})
    suites: dict[str, Suite] = {}
    for name, entry in document["suites"].items():
        if unknown := set(entry) - KEYS:
            raise ValueError(
                f"{path.name}: {name}: unknown key {min(unknown)}; known: {', '.join(sorted(KEYS))}"
            )
        if entry.get("set") not in SETS:
            raise ValueError(f"{path.name}: {name}: set is {entry.get('set')!r}; known: {', '.join(SETS)}")
        pattern = entry.get("each", "")
        parts = sorted(found for found in folders.glob(pattern) if found.is_dir()) if pattern else [None]
        for part in parts:
            whole = f"{name}/{part.name}" if part else name
            each = part.relative_to(folders).as_posix() if part else ""
            suites[whole] = Suite(
                name=whole,
                set=entry["set"],
                claim=entry["is"],
                inputs=tuple(
                    pattern.replace("{each}", each) for pattern in _spelt_out(entry["inputs"], groups, name)
                ),
                needs=tuple(entry.get("needs", ())),
                is_alone=bool(entry.get("alone", False)),
            )
    return Suites(suites, tuple(document.get("checked", ())))


def _spelt_out(patterns: Iterable[str], groups: Mapping[str, list[str]], name: str) -> list[str]:
    """Patterns with each group in place of its name, groups of groups too."""
    found: list[str] = []
    for pattern in patterns:
        if not pattern.startswith("+"):
            found.append(pattern)
        elif pattern[1:] in groups:
            found += _spelt_out(groups[pattern[1:]], groups, name)
        else:
            raise ValueError(f"suites.yaml: {name}: no group {pattern}; known: {', '.join(groups)}")
    return found


@cache
def files() -> tuple[str, ...]:
    """Every file of the checkout: tracked, or new and not ignored; sorted."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    return tuple(sorted({name for name in listed.split("\0") if name and (ROOT / name).is_file()}))


def changed_since(base: str) -> list[str]:
    """The files that differ from a commit, new ones and those that are gone included.

    Raises:
        ValueError: There is no such commit.
    """
    done = subprocess.run(
        ["git", "diff", "--name-only", "-z", "--no-renames", base],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
    )
    if done.returncode != 0:
        raise ValueError(f"there is no commit '{base}' to compare with: {done.stderr.strip()}")
    new = subprocess.run(
        ["git", "ls-files", "-z", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    return sorted({name for name in (done.stdout + new).split("\0") if name})


def digest(suite: Suite, root: Path = ROOT, paths: Sequence[str] | None = None) -> str:
    """Sixteen hex digits of the inputs of a suite: their names, contents and whether they can be run."""
    total = hashlib.sha256()
    for name in files() if paths is None else paths:
        if suite.matches(name):
            path = root / name
            mode = "x" if os.access(path, os.X_OK) else "-"
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            total.update(f"{name}\0{mode}\0{content}\n".encode())
    return total.hexdigest()[:16]
