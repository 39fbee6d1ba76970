"""Promises of the Ansible roles: one shape, variables described once, no defaults hidden in tasks.

It owns what ansible-lint does not say.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from verification.repo.tree import REPO, files, lines_with, matching, report

pytestmark = pytest.mark.unit

MAX_MAIN_LINES = 60
"""Longest `tasks/main.yaml`: it is a table of contents (lines)."""

UNTRIED: dict[str, str] = {}
"""Roles whose scenarios are still to be written, and what tries them until then."""

ROLES = sorted({Path(*path.parts[:3]) for path in matching("ansible/roles/*/**/*")})


def read(path: Path) -> Any:
    return yaml.safe_load((REPO / path).read_text(encoding="utf-8")) if (REPO / path).is_file() else None


def defaults_of(role: Path) -> dict[str, Any]:
    return read(role / "defaults/main.yaml") or read(role / "defaults/main.yml") or {}


def options_of(role: Path) -> dict[str, dict[str, Any]]:
    specs = (read(role / "meta/argument_specs.yml") or {}).get("argument_specs", {})
    return {name: option for entry in specs.values() for name, option in (entry.get("options") or {}).items()}


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_a_role_has_the_standard_shape(role: Path) -> None:
    wanted = ["tasks/main.yaml", "meta/argument_specs.yml", "README.md"]
    faults = [f"{role}/{name} is missing" for name in wanted if not (REPO / role / name).is_file()]
    length = len(lines_with(role / "tasks/main.yaml")) if not faults else 0
    if length > MAX_MAIN_LINES:
        faults.append(f"{role}/tasks/main.yaml has {length} lines, {MAX_MAIN_LINES} at most")
    assert not faults, report(faults)


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_a_role_is_tried_in_two_ways(role: Path) -> None:
    names = {path.parts[4] for path in matching(f"{role}/molecule/*/molecule.yml")}
    if role.name in UNTRIED:
        assert not names - {"default"}, f"{role} has its scenarios: take it out of UNTRIED"
        return
    faults = [f"{role}/molecule/default is missing"] * ("default" not in names)
    if not names - {"default"}:
        faults.append(f"{role}/molecule has no further scenario, with other values")
    faults += [
        f"{role}/molecule/{name}/verify.yaml is missing or does nothing"
        for name in sorted(names)
        if not any(play.get("tasks") for play in read(role / f"molecule/{name}/verify.yaml") or [])
    ]
    assert not faults, report(faults)


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_a_role_describes_its_defaults(role: Path) -> None:
    defaults, options = defaults_of(role), options_of(role)
    faults = [f"'{name}' has a default and no argument spec" for name in defaults.keys() - options.keys()]
    for name, option in options.items():
        if option.get("required"):
            faults += [f"'{name}' is required and has a default"] * (name in defaults)
        elif name not in defaults:
            faults.append(f"'{name}' is neither required nor in defaults/main.yaml")
        elif option.get("default") != defaults[name]:
            faults.append(f"'{name}': spec says {option.get('default')!r}, defaults say {defaults[name]!r}")
        if not option.get("description"):
            faults.append(f"'{name}' has no description")
    assert not faults, report([f"{role.name}: {fault}" for fault in sorted(faults)])


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_a_roles_variables_begin_with_its_name(role: Path) -> None:
    prefix = role.name.lstrip("_") + "_"
    faults = [
        f"{role.name}: '{name}' should begin with '{prefix}'"
        for name in defaults_of(role).keys() | options_of(role).keys()
        if not name.lstrip("_").startswith(prefix)
    ]
    assert not faults, report(sorted(faults))


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_a_role_hides_no_default_in_its_tasks(role: Path) -> None:
    names = "|".join(map(re.escape, options_of(role)))
    hidden = re.compile(rf"\b({names})\s*\|\s*default\(") if names else re.compile(r"(?!)")
    faults = [
        f"{path}:{number}: {line.strip()}"
        for path in files()
        if role in path.parents and path.parts[3] in {"tasks", "templates", "handlers"}
        for number, line in lines_with(path)
        if hidden.search(line)
    ]
    assert not faults, report(faults)
