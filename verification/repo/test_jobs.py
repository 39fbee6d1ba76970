"""Promises of Nomad's job files: each has a role that runs it, a purpose, and ports that are given once.

It owns what the files say at rest; that Nomad takes them is testing/integration/ansible's to show.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
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


def test_a_role_is_found_by_the_file_that_it_names() -> None:
    assert roles_of(Path("ansible/jobs/ingress.nomad.hcl")) == ["ingress"]
    assert roles_of(Path("ansible/jobs/pipecatapp-docker.nomad.hcl")) == ["pipecatapp"]
    assert roles_of(Path("ansible/jobs/docker.nomad.hcl")) == []


def test_every_job_opens_with_its_purpose() -> None:
    faults = [
        f"{job} does not open with a comment" for job in JOBS if not (text_of(job) or "").startswith("# ")
    ]
    assert not faults, report(faults)


def port_faults(jobs: Mapping[str, str], known: Mapping[str, int]) -> list[str]:
    """Return what is wrong with the ports that job files, by name, have for the house."""
    faults, given = [], [str(port) for port in known.values()]
    for name, text in jobs.items():
        for word in (word for line in HOUSE_PORTS.findall(text) for word in line.split(", ")):
            if word in given:
                faults.append(f"{name}: port {word} is another's")
            elif word.isdecimal():
                given.append(word)
            elif word not in known:
                faults.append(f"{name}: '{word}' is no number and none of twin_ports: {', '.join(known)}")
    return faults


def test_ports_for_the_house_are_known_and_given_once() -> None:
    known = yaml.safe_load((REPO / "group_vars/all.yaml").read_text(encoding="utf-8"))["twin_ports"]
    faults = port_faults({str(job): text_of(job) or "" for job in JOBS}, known)
    assert not faults, report(faults)


def test_a_port_that_is_taken_or_unknown_is_told() -> None:
    text = "# House ports: {}\n"
    jobs = {"a": text.format("http, 8090"), "b": text.format("8090, 8000"), "c": text.format("tea")}
    assert port_faults(jobs, {"http": 8000}) == [
        "b: port 8090 is another's",
        "b: port 8000 is another's",
        "c: 'tea' is no number and none of twin_ports: http",
    ]
