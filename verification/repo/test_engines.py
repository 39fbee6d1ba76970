"""Promises of the tables of engines: an entry loads nothing, names what there is, passes its suite.

It owns the comparison of `pipecatapp/adapters/*/engines.py` with pyproject.toml, the catalogue and the tests.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipecatapp.adapters.embed.engines import ENGINES as EMBEDDERS
from pipecatapp.adapters.engine import FEATURE_NAMES, EngineSpec
from pipecatapp.adapters.llm.engines import ENGINES as LLMS
from pipecatapp.adapters.stt.engines import ENGINES as STTS
from pipecatapp.adapters.tts.engines import ENGINES as TTSS
from pipecatapp.artifacts.catalogue import load_catalogue
from verification.repo.tree import REPO, matching, report, syntax_of, text_of

pytestmark = [pytest.mark.unit, pytest.mark.timeout(120)]
"""Limit (seconds): the first test of a run reads and parses every file."""

TABLES: Mapping[str, Mapping[str, EngineSpec]] = {"stt": STTS, "tts": TTSS, "embed": EMBEDDERS, "llm": LLMS}
SUITES = {"stt": "SttSuite", "tts": "TtsSuite", "embed": "EmbedderSuite"}
"""Conformance suites of the ports whose engines are adapters of one file each."""
EXPERTS = {"stt": "stt", "tts": "tts", "embed": "embedding"}


def table(kind: str) -> Path:
    """Return the file of a kind's table."""
    return Path(f"pipecatapp/adapters/{kind}/engines.py")


def adapters_of(kind: str) -> list[str]:
    """Return the modules that the loaders of a table import."""
    return [
        node.module
        for function in syntax_of(table(kind)).body
        if isinstance(function, ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.ImportFrom) and node.module
    ]


def suite_classes(tree: ast.Module, suite: str) -> list[str]:
    """Return the classes of a test module that subclass a suite, or a subclass of it beside them."""
    names = {suite}
    found = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and any(getattr(base, "id", "") in names for base in node.bases):
            names.add(node.name)
            found.append(node.name)
    return found


def has_public_class(tree: ast.Module) -> bool:
    """Whether a module defines a class for others."""
    return any(isinstance(node, ast.ClassDef) and not node.name.startswith("_") for node in tree.body)


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_imports_no_engine(kind: str) -> None:
    faults = [
        f"{table(kind)}:{node.lineno}: {node.module} is imported before its engine is loaded"
        for node in syntax_of(table(kind)).body
        if isinstance(node, ast.ImportFrom)
        if node.module and node.module.startswith(f"pipecatapp.adapters.{kind}.")
    ]
    assert not faults, report(faults)


@pytest.mark.parametrize("kind", TABLES)
def test_an_entry_names_what_there_is(kind: str) -> None:
    extras = tomllib.loads(text_of(Path("pyproject.toml")) or "")["project"]["optional-dependencies"]
    catalogue = load_catalogue(REPO / "group_vars")
    faults = []
    for name, spec in TABLES[kind].items():
        if spec.extra and spec.extra not in extras:
            faults.append(f"{name}: pyproject.toml has no extra '{spec.extra}'; it has {', '.join(extras)}")
        models = [model.name for model in catalogue.expert(EXPERTS[kind])] if spec.models else []
        if spec.models and not any(model.startswith(spec.models) for model in models):
            faults.append(f"{name}: no model of group_vars/models.yaml begins with '{spec.models}'")
        faults += [
            f"{name}: adapters/engine.py has no name for the CPU's feature '{flag}'"
            for flag in spec.requires_cpu
            if flag not in FEATURE_NAMES
        ]
    assert not faults, report(faults)


@pytest.mark.parametrize("kind", SUITES)
def test_every_engine_passes_its_ports_suite(kind: str) -> None:
    tested = {
        module
        for path in matching("testing/e2e/*.py", "testing/integration/**/*.py")
        if suite_classes(syntax_of(path), SUITES[kind])
        for module in adapters_of(kind)
        if f"from {module} import" in (text_of(path) or "")
    }
    faults = [
        f"{module} passes no {SUITES[kind]}: subclass it in testing/e2e or testing/integration"
        for module in adapters_of(kind)
        if module not in tested
    ]
    assert not faults, report(faults)


@pytest.mark.parametrize("kind", SUITES)
def test_every_adapter_of_a_folder_is_in_its_table(kind: str) -> None:
    assert len(adapters_of(kind)) == len(TABLES[kind])
    classes = {
        f"pipecatapp.adapters.{kind}.{path.stem}"
        for path in matching(f"pipecatapp/adapters/{kind}/*.py")
        if path != table(kind) and has_public_class(syntax_of(path))
    }
    faults = [f"{module} is in no entry of {table(kind)}" for module in classes - set(adapters_of(kind))]
    assert not faults, report(faults)


def test_a_subclass_of_a_subclass_counts() -> None:
    tree = ast.parse("class VoiceSuite(TtsSuite): ...\nclass TestX(VoiceSuite): ...")
    assert suite_classes(tree, "TtsSuite") == ["VoiceSuite", "TestX"]
