"""Promises of Nomad's job files: each has a role that runs it, a purpose, and ports that are given once.

It owns what the files say at rest; that Nomad takes them is testing/integration/ansible's to show.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from verification.repo.tree import REPO, matching, report, text_of

pytestmark = [pytest.mark.unit, pytest.mark.timeout(120)]
"""Limit (seconds): the first test of a run reads and parses every file."""

JOBS = matching("ansible/jobs/*.nomad.hcl")
HOUSE_PORTS = re.compile(r"^# House ports: (.+)$", re.MULTILINE)
FILE = r"\b(?:nomad_job_)?file: {}\s*$"
"""How a role names the job file that it runs."""


def roles_of(job: Path) -> list[str]:
    """Return the roles that run a job file."""
    named = re.compile(FILE.format(re.escape(job.name)), re.MULTILINE)
    paths = matching("ansible/roles/*/tasks/*.yaml", "ansible/roles/*/vars/*.yaml")
    return sorted({path.parts[2] for path in paths if named.search(text_of(path) or "")})


def test_every_job_has_a_role_that_runs_it() -> None:
    faults = [f"{job}: no role names it as nomad_job_file" for job in JOBS if not roles_of(job)]
    assert not faults, report(faults)


def test_every_job_opens_with_its_purpose() -> None:
    faults = [
        f"{job} does not open with a comment" for job in JOBS if not (text_of(job) or "").startswith("# ")
    ]
    assert not faults, report(faults)


def test_ports_for_the_house_are_known_and_given_once() -> None:
    known = yaml.safe_load((REPO / "group_vars/all.yaml").read_text(encoding="utf-8"))["twin_ports"]
    faults, given = [], [str(port) for port in known.values()]
    for job in JOBS:
        for port in HOUSE_PORTS.findall(text_of(job) or ""):
            for word in port.split(", "):
                if not word.isdecimal() and word not in known:
                    faults.append(f"{job}: '{word}' is no number and none of twin_ports: {', '.join(known)}")
                if word in given:
                    faults.append(f"{job}: port {word} is another's")
                given += [word] * word.isdecimal()
    assert not faults, report(faults)
