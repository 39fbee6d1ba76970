"""Promises of the prose: links lead somewhere, rooms have a README, commands in it exist.

It owns the checks over every Markdown file; layout is the Markdown linter's.
"""

from __future__ import annotations

import argparse
import importlib
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from pipecatapp.cli import COMMANDS, module_of
from verification.repo.tree import REPO, files, matching, report, text_of

pytestmark = [pytest.mark.unit, pytest.mark.timeout(120)]
"""Limit (seconds): the first test of a run reads and parses every file."""

ROOMS = (
    "pipecatapp",
    "testing",
    "ansible",
    "scripts",
    "verification",
    "docs",
    "prompt_engineering",
    "reflection",
)
MAX_README_LINES = 60
"""Longest README of a room (lines)."""

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
TWIN = re.compile(r"(?:^|[\s/])twin ([a-z][a-z|-]*)(?: ([a-z][a-z|-]*))?")
SCRIPT = re.compile(r"(?:^|[\s./])scripts/(test|lint|bench) ([a-z][a-z0-9_-]*)")


def documents() -> list[Path]:
    """Return every Markdown file."""
    return [path for path in files() if path.suffix == ".md"]


def anchors_of(text: str) -> set[str]:
    """Return the anchors that a Markdown text's headings make."""
    headings = re.findall(r"^#{1,6}\s+(.*?)\s*#*$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def link_fault(path: Path, target: str) -> str:
    """Return why a link of document `path` leads nowhere, or ""."""
    if re.match(r"[a-z][a-z0-9+.-]*:", target):
        return ""
    name, _, anchor = target.partition("#")
    aim = (REPO / path).parent / name if name else REPO / path
    if not aim.exists():
        return "there is no such file"
    if anchor and aim.suffix == ".md" and anchor not in anchors_of(aim.read_text(encoding="utf-8")):
        return "there is no such heading"
    return ""


def commands_in(text: str) -> list[str]:
    """Return the lines of a document's code blocks and code spans."""
    blocks = [line for block in FENCE.finditer(text) for line in block[0].splitlines()[1:-1]]
    return [line.strip() for line in blocks] + CODE.findall(FENCE.sub("", text))


@cache
def twin_commands() -> dict[str, set[str]]:
    """Return every command of `twin` with its subcommands."""
    parser = argparse.ArgumentParser()
    top = parser.add_subparsers()
    for name in COMMANDS:
        importlib.import_module(module_of(name)).add_parser(top)
    return {
        name: {
            choice
            for action in sub._actions
            if isinstance(action, argparse._SubParsersAction)
            for choice in action.choices
        }
        for name, sub in top.choices.items()
    }


@cache
def verbs_of(script: str) -> set[str]:
    """Return the verbs that the help of `scripts/test`, `scripts/lint` or `scripts/bench` names."""
    shown = subprocess.run(
        [REPO / "scripts" / script, "--help"], capture_output=True, text=True, check=True, timeout=10
    )
    lines = re.findall(r"^ {2}\(?([a-z][a-z0-9_-]*(?:, [a-z-]+)*)\)? {2,}", shown.stdout, re.MULTILINE)
    return {verb for line in lines for verb in line.split(", ")}


def test_links_lead_somewhere() -> None:
    faults = [
        f"{path}: ({target}): {fault}"
        for path in documents()
        for target in LINK.findall(FENCE.sub("", text_of(path) or ""))
        if (fault := link_fault(path, target))
    ]
    assert not faults, report(faults)


def test_rooms_have_a_short_readme() -> None:
    faults = []
    for room in ROOMS:
        readme = REPO / room / "README.md"
        if not readme.is_file():
            faults.append(f"{room} has no README.md")
        elif (length := len(readme.read_text(encoding="utf-8").splitlines())) > MAX_README_LINES:
            faults.append(f"{room}/README.md has {length} lines, {MAX_README_LINES} at most")
    assert not faults, report(faults)


def test_every_page_is_in_the_index() -> None:
    index = (REPO / "docs/README.md").read_text(encoding="utf-8")
    faults = [
        f"docs/README.md does not link {path}"
        for path in matching("docs/**/*.md")
        if path.name != "README.md" and f"({path.relative_to('docs')})" not in index
    ]
    assert not faults, report(faults)


def test_twin_commands_in_the_docs_exist() -> None:
    known = twin_commands()
    faults = []
    for path in documents():
        for line in commands_in(text_of(path) or ""):
            for command, sub in TWIN.findall(line):
                faults += [f"{path}: `twin {name}`" for name in command.split("|") if name not in known]
                subcommands = known.get(command, set())
                if sub and subcommands:
                    faults += [
                        f"{path}: `twin {command} {s}`" for s in sub.split("|") if s not in subcommands
                    ]
    assert not faults, report(faults) + f"\nknown: {known}"


def test_verbs_of_scripts_in_the_docs_exist() -> None:
    faults = [
        f"{path}: `scripts/{script} {verb}`"
        for path in documents()
        for line in commands_in(text_of(path) or "")
        for script, verb in SCRIPT.findall(line)
        if verb not in verbs_of(script)
    ]
    assert not faults, report(faults)


def test_a_dead_link_is_seen() -> None:
    assert link_fault(Path("README.md"), "docs/no-such-page.md") == "there is no such file"
    assert link_fault(Path("README.md"), "README.md#no-such-heading") == "there is no such heading"
    assert link_fault(Path("README.md"), "https://example.org/") == ""


def test_commands_are_read_from_blocks_and_spans() -> None:
    assert commands_in("Run `twin a` and\n\n```sh\ntwin b\n```\n") == ["twin b", "twin a"]
