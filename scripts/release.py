"""Make a version: gather what has changed into CHANGELOG.md, and write the number where it is needed.

Usage: python3 scripts/release.py VERSION

`pyproject.toml` is where the version is from; `pipecatapp/__init__.py` and the two files of npm repeat it,
because they are read where nothing is installed, and a check compares them (verification/repo). Not here:
commits and tags.
"""

from __future__ import annotations

import datetime
import re
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("added", "changed", "fixed", "removed", "security")
"""How a fragment's name begins, in the order of a version's sections."""
NAME = re.compile(rf"(?P<kind>{'|'.join(KINDS)})-[a-z0-9]+(?:-[a-z0-9]+)*\.txt")
VERSION = re.compile(r"\d+\.\d+\.\d+")
PLACES = {
    "pyproject.toml": re.compile(r'(?m)^version = "(.*)"$'),
    "pipecatapp/__init__.py": re.compile(r'(?m)^__version__ = "(.*)"$'),
    "package.json": re.compile(r'(?m)^  "version": "(.*)",$'),
    "package-lock.json": re.compile(r'(?m)^(?: {2}| {6})"version": "(.*)",$'),
}
"""Files that tell the version of this project, and how; the first is the truth."""
OURS = {"package-lock.json": 2}
"""How often a file tells it before it tells others' versions; once where it is not named here."""


class ReleaseError(Exception):
    """What stands in the way, as a sentence."""


def versions(root: Path) -> dict[str, set[str]]:
    """Return what each file says that the version is."""
    return {
        name: set(pattern.findall((root / name).read_text(encoding="utf-8"))[: OURS.get(name, 1)])
        for name, pattern in PLACES.items()
    }


def with_version(text: str, name: str, version: str) -> str:
    """Return a file's text with another version."""

    def put(match: re.Match[str]) -> str:
        begin, end = (place - match.start() for place in match.span(1))
        return match[0][:begin] + version + match[0][end:]

    return PLACES[name].sub(put, text, count=OURS.get(name, 1))


def fragments(folder: Path) -> list[Path]:
    """Return the fragments, sorted.

    Raises:
        ReleaseError: A file is named otherwise, or is empty.
    """
    found = sorted(path for path in folder.iterdir() if path.name != "README.md")
    for path in found:
        if not NAME.fullmatch(path.name):
            raise ReleaseError(f"{path.name}: a change is KIND-NAME.txt, KIND one of {', '.join(KINDS)}")
        if not path.read_text(encoding="utf-8").strip():
            raise ReleaseError(f"{path.name} says nothing")
    return found


def section(version: str, day: str, changes: Iterable[Path]) -> str:
    """Return the part of the changelog about a version."""
    by_kind: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for path in changes:
        lines = path.read_text(encoding="utf-8").strip().splitlines()
        entry = [f"- {lines[0]}", *(f"  {line}" for line in lines[1:])]
        by_kind[path.name.partition("-")[0]].append("\n".join(entry))
    parts = [f"## {version}, {day}"]
    for kind, entries in by_kind.items():
        if entries:
            parts += [f"### {kind.capitalize()}", "\n".join(entries)]
    return "\n\n".join(parts) + "\n\n"


def release(root: Path, version: str, day: str) -> list[str]:
    """Make the version in a checkout; return the files that were changed or removed.

    Raises:
        ReleaseError: The number is none, or nothing has changed.
    """
    if not VERSION.fullmatch(version):
        raise ReleaseError(f"'{version}' is no version, such as 0.2.0")
    changes = fragments(root / "docs/changes")
    if not changes:
        raise ReleaseError("nothing in docs/changes tells of a change")
    log = root / "CHANGELOG.md"
    head, mark, rest = log.read_text(encoding="utf-8").partition("## ")
    if f"\n## {version}" in f"\n{mark}{rest}":
        raise ReleaseError(f"CHANGELOG.md has {version} already")
    log.write_text(head + section(version, day, changes) + mark + rest, encoding="utf-8")
    for name in PLACES:
        path = root / name
        path.write_text(with_version(path.read_text(encoding="utf-8"), name, version), encoding="utf-8")
    for path in changes:
        path.unlink()
    return [log.name, *PLACES, *(str(path.relative_to(root)) for path in changes)]


def main(arguments: list[str]) -> int:
    """Make the version that is named."""
    if len(arguments) != 1 or arguments[0] in ("-h", "--help"):
        sys.stderr.write(__doc__ or "")
        return 0 if arguments[:1] in (["-h"], ["--help"]) else 2
    try:
        for name in release(ROOT, arguments[0], datetime.date.today().isoformat()):
            sys.stdout.write(f"{name}\n")
    except ReleaseError as exc:
        sys.stderr.write(f"release: {exc}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
