"""The key of an artefact: a name that stands for exactly these programs of this architecture.

Standard library only, and nothing of this package: `bootstrap.sh` runs this file with the system's Python
before anything is installed, to ask for the programs that the catalogue means. So it reads an entry of the
catalogue without YAML's library. Not here: what an entry may say (`artifact_schema`).

    python3 -I -S artifact_key.py CATALOGUE PROGRAM version|mirror-path|release-url
"""

from __future__ import annotations

import hashlib
import platform
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

KEY_DIGITS = 12
"""Hex digits of the digest: 48 bits, among a handful of builds of one version."""
_LINE = re.compile(r"( *)(- )?([A-Za-z0-9_]+):(?: +(.*))?")
"""A line of the catalogue: indentation, mark of a list's entry, key, and a value on the same line."""


def artifact_key(version: str, parts: Iterable[str], machine: str = "") -> str:
    """Return the name of the folder of exactly these programs.

    Args:
        version: Version of the programs.
        parts: What they are made of and how, in a fixed order.
        machine: Architecture; this machine's when "".
    """
    text = "\n".join([*parts, machine or platform.machine()])
    return f"{version}-{hashlib.sha256(text.encode()).hexdigest()[:KEY_DIGITS]}"


def mirror_path(name: str, key: str) -> str:
    """Return where a mirror lists these programs, below its address or its folder."""
    return f"artifacts/{name}/{key}.json"


def go_parts(sha256: str, package: str, tags: Iterable[str]) -> list[str]:
    """Return what a Go program is made of: its `go.mod` and `go.sum`, its import path, its build tags."""
    return [sha256, package, *tags]


def read_entry(text: str, name: str) -> list[tuple[str, str]]:
    """Return the values of the first entry that has this name, each with the keys that lead to it.

    It understands the catalogue's own style: blocks, and each value on the line of its key.

    Raises:
        KeyError: The catalogue has no such program.
    """
    pattern = rf"^  - name: {re.escape(name)}\n(?:(?:    .*| *)\n)*"
    found = re.search(pattern, text + "\n", re.MULTILINE)
    if found is None:
        raise KeyError(name)
    return list(_values(found[0].splitlines()))


def _values(lines: list[str]) -> Iterator[tuple[str, str]]:
    above: list[tuple[int, str]] = []
    for line in lines:
        match = _LINE.fullmatch(line)
        if match is None:
            continue
        spaces, dash, key, value = match.groups()
        indent = len(spaces) + len(dash or "")
        above = [(depth, name) for depth, name in above if depth < indent]
        if value:
            yield ".".join([*(name for _, name in above), key]), value
        else:
            above.append((indent, key))


def told(text: str, name: str, wanted: str) -> str:
    """Return one thing about a program of the catalogue; "" where there is no such thing.

    Args:
        text: The catalogue.
        name: The program.
        wanted: `version`; `mirror-path`, below a mirror's address and for this machine; or `release-url`, the
            vendor's archive for this machine.

    Raises:
        KeyError: The catalogue has no such program.
    """
    values = read_entry(text, name)
    first = dict(reversed(values))
    if wanted == "version":
        return first["version"]
    if wanted == "mirror-path":
        tags = [tag for tag in re.split(r"[][, ]+", first.get("go.tags", "")) if tag]
        key = artifact_key(first["version"], go_parts(first["go.sha256"], first["go.package"], tags))
        return mirror_path(name, key)
    machine = ""
    for path, value in values:
        machine = value if path == "releases.machine" else machine
        if path == "releases.url" and machine == platform.machine():
            return value
    return ""


def main(arguments: list[str]) -> int:
    """Print what is asked for."""
    if len(arguments) != 3 or arguments[2] not in ("version", "mirror-path", "release-url"):
        sys.stderr.write((__doc__ or "").rstrip().rpartition("\n")[2].strip() + "\n")
        return 2
    catalogue, name, wanted = arguments
    try:
        sys.stdout.write(told(Path(catalogue).read_text(encoding="utf-8"), name, wanted) + "\n")
    except KeyError as exc:
        sys.stderr.write(f"{catalogue} does not tell {exc} of {name}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
