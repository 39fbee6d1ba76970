"""The reading of an inventory, YAML or INI: by Ansible's own loaders, and by its lines.

It owns which form a text has, what Ansible makes of it, and on which line a name stands. Not here: what it
may say (`rules`), and the edit (`lines`).
"""

from __future__ import annotations

import json
import pkgutil
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import ansible_view

READ_TIMEOUT_S = 60.0
SECTION = re.compile(r"^\s*\[[^\]\n]+\]\s*([#;].*)?$", re.MULTILINE)
"""A line that begins a group in INI."""
KEY = re.compile(r"^\s*[A-Za-z_][\w-]*:(\s|$)", re.MULTILINE)
RANGE = re.compile(r"[^\s'\",{}]*\[[0-9A-Za-z]+:[0-9A-Za-z]+(:\d+)?\][^\s'\",:{}]*")
"""A pattern of several machines, such as `node[1:3]`."""


class InventoryError(ValueError):
    """What is wrong with the inventory or the change, as a sentence."""


@dataclass(frozen=True, slots=True)
class Group:
    """A group as it is written: what stands in it directly."""

    hosts: dict[str, dict[str, Any]]
    children: list[str]
    variables: dict[str, Any]


Groups = dict[str, Group]


def is_ini(text: str) -> bool:
    """Whether a text is an inventory of Ansible's INI form."""
    return SECTION.search(text) is not None and KEY.search(text) is None


def read(text: str) -> Groups:
    """Return the groups that Ansible finds, by name.

    Raises:
        InventoryError: Ansible cannot read it; with the line, where that is known.
    """
    kind = "ini" if is_ini(text) else "yaml"
    seen = _view(kind, text)
    if "error" in seen:
        where = f", line {_first_bad_line(text)}" if kind == "ini" else ""
        raise InventoryError(f"Ansible cannot read the inventory{where}: {seen['error'].rstrip('.')}.")
    return {
        name: Group(content["hosts"], content["children"], content["vars"])
        for name, content in seen["groups"].items()
    }


def members(groups: Groups, name: str) -> dict[str, dict[str, Any]]:
    """Machines of a group and of the groups below it, with their variables, in the order of the file."""
    found: dict[str, dict[str, Any]] = {}
    if name in groups:
        found |= groups[name].hosts
        for child in groups[name].children:
            found |= members(groups, child)
    return found


def line_of(text: str, name: str) -> int:
    """The line that a machine or a group stands on, as itself or in a range; 0 when it is not found."""
    as_word = re.compile(
        rf"""^\s*\[?['"]?{re.escape(name)}['"]?\]?\s*(:|\s|$)|[{{,]\s*['"]?{re.escape(name)}['"]?\s*:"""
    )
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if as_word.search(line.split(" #")[0]):
            return number
    return next((number for number, line in enumerate(lines, 1) if name in set(_in_ranges(line))), 0)


def range_of(text: str, name: str) -> str:
    """The pattern that stands for a machine and others, "" for one that is written out."""
    for line in text.splitlines():
        for match in RANGE.finditer(line):
            if name in set(_in_ranges(match[0])):
                return match[0]
    return ""


def at(text: str, name: str) -> str:
    """Where a name stands, to be put behind it: ` (line 7)`."""
    number = line_of(text, name)
    return f" (line {number})" if number else ""


def _in_ranges(line: str) -> Iterator[str]:
    """The names that the ranges of a line stand for, of numbers or of letters."""
    for match in RANGE.finditer(line.split(" #")[0]):
        head, first, last, step, tail = re.fullmatch(r"(.*)\[(\w+):(\w+)(?::(\d+))?\](.*)", match[0]).groups()  # type: ignore[union-attr]
        stride = int(step or 1)
        if first.isdigit() and last.isdigit():
            width = len(first) if first.startswith("0") else 0
            yield from (f"{head}{n:0{width}d}{tail}" for n in range(int(first), int(last) + 1, stride))
        elif len(first) == len(last) == 1:
            yield from (f"{head}{chr(n)}{tail}" for n in range(ord(first), ord(last) + 1, stride))


def _view(kind: str, text: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"inventory.{kind}"
        path.write_text(text, encoding="utf-8")
        if ".zip/" not in __file__:
            try:
                return ansible_view.view(kind, str(path))
            except ImportError as exc:
                raise InventoryError(
                    "An inventory is read by Ansible, which this Python does not have; ./bootstrap.sh "
                    "brings one that has it, TWIN_PYTHON names another."
                ) from exc
        # As a module, of Ansible's own only what modules need can be imported.
        program = pkgutil.get_data(__package__, "ansible_view.py") or b""
        done = subprocess.run(
            [sys.executable, "-c", program.decode(), kind, str(path)],
            capture_output=True,
            text=True,
            timeout=READ_TIMEOUT_S,
            check=False,
        )
    if done.returncode != 0:
        raise InventoryError(
            f"The inventory cannot be read: {(done.stderr.strip() or 'no reason').splitlines()[-1]}"
        )
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def _first_bad_line(text: str) -> int:
    """The line of an INI text with which Ansible begins to stumble."""
    lines = text.splitlines(keepends=True)
    good, bad = 0, len(lines)
    while bad - good > 1:
        middle = (good + bad) // 2
        if "error" in _view("ini", "".join(lines[:middle])):
            bad = middle
        else:
            good = middle
    return bad
