"""Promises of every file: names, modes, sizes, and no trace of a machine or a registry.

It owns what holds whatever a file is about.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from verification.repo.tree import REPO, files, lines_with, matching, report, text_of

pytestmark = [pytest.mark.unit, pytest.mark.timeout(120)]
"""Limit (seconds): the first test of a run reads and parses every file."""

MAX_BYTES = 1 << 20
"""Size above which a file needs a reason (1 MiB)."""
MAX_MEDIA_BYTES = 8 << 20
"""Size of the largest picture or recording (8 MiB)."""
MEDIA_FOLDERS = ("docs/images/", "testing/recordings/")

YML_NAMES = {"argument_specs.yml", "molecule.yml"}
"""Files whose `.yml` is fixed by convention."""

MAX_SHELL_LINES = 300
"""Above it a shell script is Python or Ansible (lines)."""

MACHINE_PATH = re.compile(r"(?<![\w./}$-])/(?:work|root)(?:/[\w.]|\b(?![/\w-]))")
"""A folder of one certain machine."""
GUESTS = ("testing/hosts/", "testing/cluster/")
"""Where the root user's home is that of a machine booted for a test, the same on every one."""
REGISTRY = re.compile(
    r"\b(?:pypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|(?:deb|security|ftp|snapshot)\.debian\.org"
    r"|proxy\.golang\.org|sum\.golang\.org|crates\.io|rubygems\.org)\b"
)
"""A registry's host; which one serves is the machine's setting, never ours."""
UNFINISHED = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
EMOJI = re.compile("[\U0001f300-\U0001faff\u2705\u274c\u2728\u26a0]")

SHELL = re.compile(r"#!.*\b(?:bash|sh|dash)\s*$")


def shell_scripts() -> list[Path]:
    """Return every script whose first line names a shell."""
    return [path for path in files() if SHELL.match((text_of(path) or "").partition("\n")[0])]


def faults_of(pattern: re.Pattern[str], what: str) -> list[str]:
    return [
        f"{path}:{number}: {what}: {found[0]}"
        for path in files()
        for number, line in lines_with(path)
        if (found := pattern.search(line))
    ]


def test_yaml_files_end_in_yaml() -> None:
    faults = [
        f"{path} should end in .yaml"
        for path in files()
        if path.suffix == ".yml" and path.name not in YML_NAMES
    ]
    assert not faults, report(faults)


def test_job_files_end_in_nomad_hcl() -> None:
    faults = [
        f"{path} should end in .nomad.hcl"
        for path in matching("ansible/jobs/*")
        if path.suffix in {".nomad", ".hcl", ".j2"} and not path.name.endswith(".nomad.hcl")
    ]
    assert not faults, report(faults)


def test_scripts_are_executable_and_nothing_else_of_text_is() -> None:
    faults = []
    for path in files():
        text = text_of(path)
        is_script = bool(text and text.startswith("#!"))
        is_executable = os.access(REPO / path, os.X_OK)
        if path.suffix == ".j2" or "library" in path.parts:  # Ansible copies and starts its modules itself
            continue
        if is_script != is_executable:
            faults.append(
                f"{path} {'is not executable' if is_script else 'is executable and has no #! line'}"
            )
    assert not faults, report(faults)


def test_bash_scripts_are_strict_and_describe_themselves() -> None:
    faults = []
    for path in shell_scripts():
        text = text_of(path) or ""
        if not text.startswith("#!/usr/bin/env bash\n"):
            continue
        if "\nset -euo pipefail\n" not in text:
            faults.append(f"{path} lacks `set -euo pipefail`")
        if not text.partition("\n")[2].startswith("# Summary: "):
            faults.append(f"{path} does not begin with `# Summary:`")
        if len(text.splitlines()) > MAX_SHELL_LINES:
            faults.append(f"{path} has more than {MAX_SHELL_LINES} lines")
    assert not faults, report(faults)


def test_no_file_is_too_large() -> None:
    faults = []
    for path in files():
        size = (REPO / path).stat().st_size
        limit = MAX_MEDIA_BYTES if str(path).startswith(MEDIA_FOLDERS) else MAX_BYTES
        if size > limit:
            faults.append(f"{path} has {size} bytes, {limit} at most")
    assert not faults, report(faults)


def test_no_file_names_a_folder_of_one_machine() -> None:
    found = faults_of(MACHINE_PATH, "a folder of one machine")
    faults = [fault for fault in found if not fault.startswith(GUESTS)]
    assert not faults, report(faults)


def test_no_file_names_a_registry_host() -> None:
    assert not (faults := faults_of(REGISTRY, "a registry's host")), report(faults)


def test_nothing_is_marked_unfinished() -> None:
    assert not (faults := faults_of(UNFINISHED, "unfinished")), report(faults)


def test_there_are_no_emoji() -> None:
    found = faults_of(EMOJI, "an emoji")
    faults = [fault for fault in found if not fault.startswith("testing/")]  # texts that users might send
    assert not faults, report(faults)


@pytest.mark.parametrize("text", ["cd /" + "work/main", "'/" + "root/.cache'", "in /" + "root"])
def test_the_path_check_sees_a_machine(text: str) -> None:
    assert MACHINE_PATH.search(text)


@pytest.mark.parametrize("text", ["https://example.org/work/", "${HOME}/work", "net/work/", "a/root/b"])
def test_the_path_check_lets_other_paths_be(text: str) -> None:
    assert not MACHINE_PATH.search(text)


@pytest.mark.parametrize("host", ["pypi" + ".org", "files.python" + "hosted.org", "deb.debian" + ".org"])
def test_the_registry_check_sees_a_host(host: str) -> None:
    assert REGISTRY.search(f"https://{host}/simple")
