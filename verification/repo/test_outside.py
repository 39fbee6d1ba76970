"""Promises to people who come from outside: one version, changes that can be told, files that say what is so.

It owns what a contributor's files say of the repository; their links and layout are other checks'.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from testing.ansible_code import ROOT, load_file
from verification.repo.tree import REPO, files, report, text_of

pytestmark = pytest.mark.unit

release = load_file("twin_release", ROOT / "scripts/release.py")

MAX_CONTRIBUTING_LINES = 120
"""Longest CONTRIBUTING.md (lines): it is read in one go."""
PATH = re.compile(r"`([\w./-]+/[\w./-]*)`")
"""A path in a text: what has a slash and is written as code."""
PLACEHOLDER = re.compile(r"NAME|KIND|ROLE|^build/|~|^molecule/")


def test_every_file_tells_the_same_version() -> None:
    told = release.versions(REPO)
    [version] = told["pyproject.toml"]
    faults = [f"{name} says {', '.join(sorted(found))}" for name, found in told.items() if found != {version}]
    assert not faults, report(
        [f"pyproject.toml says {version}; python3 scripts/release.py writes it", *faults]
    )


def test_the_changelog_knows_the_version() -> None:
    [version] = release.versions(REPO)["pyproject.toml"]
    assert f"\n## {version}" in (text_of(Path("CHANGELOG.md")) or "")


def test_changes_can_be_told() -> None:
    for path in release.fragments(REPO / "docs/changes"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 6, f"{path.name} tells too much"


def test_contributing_is_short_and_names_files_that_are_there() -> None:
    text = text_of(Path("CONTRIBUTING.md")) or ""
    assert len(text.splitlines()) <= MAX_CONTRIBUTING_LINES
    faults = [
        f"CONTRIBUTING.md names {path}, which is not there"
        for path in PATH.findall(text)
        if not PLACEHOLDER.search(path) and not (REPO / path).exists()
    ]
    assert not faults, report(faults)


def test_the_workflow_calls_what_continuous_integration_calls() -> None:
    workflow = yaml.safe_load(text_of(Path(".github/workflows/tests.yaml")) or "")
    commands = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert commands[-1] == ".ci/run"
    assert not [command for command in commands if "scripts/" in command]


def test_hooks_call_the_repositorys_own_linters() -> None:
    known = re.search(r"^readonly LINTERS=\((.*)\)$", text_of(Path("scripts/lint")) or "", re.MULTILINE)
    assert known
    hooks = yaml.safe_load(text_of(Path(".pre-commit-config.yaml")) or "")["repos"]
    assert [repo["repo"] for repo in hooks] == ["local"]
    faults = []
    for hook in hooks[0]["hooks"]:
        script, *linters = hook["entry"].split()
        if script != "scripts/lint" or not linters or not {*linters} <= {*known[1].split()}:
            faults.append(f"{hook['id']}: {hook['entry']}; known: {known[1]}")
    assert not faults, report(faults)


def test_forms_for_issues_are_whole() -> None:
    forms = [path for path in files() if path.match(".github/ISSUE_TEMPLATE/*")]
    assert forms
    for path in forms:
        form = yaml.safe_load(text_of(path) or "")
        assert {"name", "description", "body"} <= form.keys(), path
        for part in form["body"]:
            assert part["type"] in {"markdown", "textarea", "input", "dropdown", "checkboxes"}, path
            assert part["type"] == "markdown" or part["attributes"]["label"], path
