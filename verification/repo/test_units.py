"""Promises about units of work: a tool has its test, a workflow loads, names and ports are said once.

It owns the pairings between rooms; what a unit does is its own tests' business.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from pipecatapp.artifacts.catalogue import load_catalogue
from pipecatapp.settings import Settings
from verification.repo.tree import REPO, lines_with, matching, report, syntax_of

pytestmark = pytest.mark.unit

OUTSIDE = re.compile(r"""(?:\bsrc=|\bhref=|\burl\(|\bfetch\(|\bfrom\s|\bimport\(?)\s*["'(]?(?:https?:)?//""")
"""Something of the page that would be asked from another machine."""


def is_factory(node: ast.stmt, name: str) -> bool:
    """Whether a statement defines the tool factory `name`."""
    return (
        isinstance(node, ast.FunctionDef | ast.ClassDef)
        and node.name == name
        and any("tool" in ast.unparse(decorator) for decorator in node.decorator_list)
    )


def test_every_tool_has_its_test_and_its_factory() -> None:
    tools = matching("pipecatapp/tools/*_tool.py")
    assert tools
    faults = []
    for path in tools:
        name = path.stem.removesuffix("_tool")
        if not (REPO / f"testing/unit/tools/test_{path.stem}.py").is_file():
            faults.append(f"{path} has no testing/unit/tools/test_{path.stem}.py")
        if not any(is_factory(node, name) for node in syntax_of(path).body):
            faults.append(f"{path} has no `@tool` factory `{name}`")
    assert not faults, report(faults)


def test_every_test_of_a_tool_has_its_tool() -> None:
    faults = [
        f"{path} tests a tool that is not there"
        for path in matching("testing/unit/tools/test_*_tool.py")
        if not (REPO / "pipecatapp/tools" / f"{path.stem.removeprefix('test_')}.py").is_file()
    ]
    assert not faults, report(faults)


def test_models_have_one_name_each() -> None:
    document = yaml.safe_load((REPO / "group_vars/models.yaml").read_text(encoding="utf-8"))
    lists = [entries for key, entries in document.items() if key.endswith("_models")]
    assert lists
    by_name: dict[str, set[str]] = {}
    for entry in (entry for entries in lists for entry in entries):
        by_name.setdefault(entry["name"], set()).add(str(entry.get("sha256", entry)))
    faults = [
        f"models.yaml: '{name}' stands for different files"
        for name, kinds in by_name.items()
        if len(kinds) > 1
    ]
    faults += [
        f"models.yaml: '{name}' is listed twice in one list"
        for entries in lists
        for name, count in Counter(entry["name"] for entry in entries).items()
        if count > 1
    ]
    assert not faults, report(faults)


def test_the_catalogue_loads() -> None:
    catalogue = load_catalogue(REPO / "group_vars")
    assert catalogue.models
    assert catalogue.artifacts


def test_ports_are_given_once_and_are_the_settings_own() -> None:
    ports = yaml.safe_load((REPO / "group_vars/all.yaml").read_text(encoding="utf-8"))["twin_ports"]
    faults = [f"port {port} is given twice" for port, count in Counter(ports.values()).items() if count > 1]
    defaults = {
        name: Settings.model_fields[field].default
        for name, field in (("http", "port"), ("https", "tls_port"))
    }
    faults += [
        f"port '{name}' is {ports[name]} in group_vars/all.yaml and {default} in settings.py"
        for name, default in defaults.items()
        if ports[name] != default
    ]
    assert not faults, report(faults)


def test_the_page_asks_no_other_machine() -> None:
    faults = [
        f"{path}:{number}: {line.strip()}"
        for path in matching("pipecatapp/web/static/**/*")
        if path.suffix in {".html", ".js", ".css"}
        for number, line in lines_with(path)
        if OUTSIDE.search(line)
    ]
    assert not faults, report(faults)


def test_the_page_never_writes_markup_from_data() -> None:
    faults = [
        f"{path}:{number}: {line.strip()}"
        for path in matching("pipecatapp/web/static/**/*.js")
        for number, line in lines_with(path)
        if re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", line)
    ]
    assert not faults, report(faults)


def test_the_page_is_type_checked() -> None:
    faults = [
        f"{path} does not begin with `// @ts-check`"
        for path in matching("pipecatapp/web/static/**/*.js")
        if "// @ts-check" not in "\n".join(line for _, line in lines_with(path)[:3])
    ]
    assert not faults, report(faults)


def test_continuous_integration_calls_the_tests_and_nothing_else() -> None:
    commands = [
        line for _, line in lines_with(Path(".ci/run")) if line and not line.startswith(("#", "set ", "cd "))
    ]
    assert commands == ["export CI=true", "exec </dev/null", "exec ./scripts/test"]


@pytest.mark.parametrize("line", ['<script src="https://cdn.lan/x.js">', "import x from '//cdn.lan/x.js'"])
def test_the_page_check_sees_another_machine(line: str) -> None:
    assert OUTSIDE.search(line)
