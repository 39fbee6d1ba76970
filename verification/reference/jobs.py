"""docs/reference/jobs.md, from the files of `ansible/jobs` and the roles that run them.

It owns how a job file is read for the page.
"""

from __future__ import annotations

import re
from pathlib import Path

from verification.reference.markdown import code, page, paragraph, table

JOB = re.compile(r'^job "([^"]+)"', re.MULTILINE)
TYPE = re.compile(r'^  type\s*= "(\w+)"', re.MULTILINE)
PORT = re.compile(r'^ +port "(\w+)" \{', re.MULTILINE)
HOUSE = re.compile(r"^# House ports: (.+)$", re.MULTILINE)
VARIABLE = re.compile(r'^variable "(\w+)" \{\n(.*?)^\}', re.MULTILINE | re.DOTALL)


def text(repo: Path) -> str:
    """Return the page over the job files of a checkout."""
    jobs = {path: path.read_text(encoding="utf-8") for path in sorted(repo.glob("ansible/jobs/*.nomad.hcl"))}
    parts = [
        paragraph(
            'What Nomad runs. A port of a job is reached by the cluster\'s nodes; those named under "house" '
            "by everybody at home."
        ),
        table(
            ("file", "job", "type", "role", "ports", "house"),
            (
                (
                    f"[{path.name}](../../ansible/jobs/{path.name})",
                    code(_first(JOB, words)),
                    _first(TYPE, words) or "service",
                    ", ".join(map(code, _roles(repo, path.name))),
                    ", ".join(map(code, PORT.findall(words))),
                    ", ".join(HOUSE.findall(words)),
                )
                for path, words in jobs.items()
            ),
        ),
    ]
    for path, words in jobs.items():
        parts += [
            f"## {path.name}",
            paragraph(_purpose(words)),
            table(
                ("variable", "default", "meaning"), (_variable(*found) for found in VARIABLE.findall(words))
            ),
        ]
    return page("Nomad jobs", "ansible/jobs", *parts)


def _first(pattern: re.Pattern[str], words: str) -> str:
    found = pattern.search(words)
    return found[1] if found else ""


def _roles(repo: Path, name: str) -> list[str]:
    named = re.compile(rf"\b(?:nomad_job_)?file: {re.escape(name)}\s*$", re.MULTILINE)
    paths = [*repo.glob("ansible/roles/*/tasks/*.yaml"), *repo.glob("ansible/roles/*/vars/*.yaml")]
    return sorted({path.parents[1].name for path in paths if named.search(path.read_text(encoding="utf-8"))})


def _purpose(words: str) -> str:
    lines = []
    for line in words.splitlines():
        if not line.startswith("#"):
            break
        if not HOUSE.match(line):
            lines.append(line.lstrip("# "))
    return " ".join(lines)


def _variable(name: str, body: str) -> tuple[str, str, str]:
    words = re.search(r'^  description\s*= "(.*)"$', body, re.MULTILINE)
    default = re.search(r"^  default\s*= (.+)$", body, re.MULTILINE)
    shown = "must be set" if default is None else code(default[1]) if default[1] != '""' else "none"
    if default is not None and default[1] in "{[":
        shown = "several"
    return code(name), shown, words[1] if words else ""
