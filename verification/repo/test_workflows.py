"""Promises of the shipped workflows: each loads, is described, and carries its file's name.

It owns nothing about how they answer; their scenarios show that.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from verification.repo.tree import REPO, matching, text_of

pytestmark = pytest.mark.unit

WORKFLOWS = matching("pipecatapp/workflows/*.yaml")


def test_there_are_workflows() -> None:
    assert WORKFLOWS


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_loads(path: Path) -> None:
    from pipecatapp.workflow.loader import load_workflow

    assert load_workflow(REPO / path).name == path.stem


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_opens_with_its_purpose_and_names_its_file(path: Path) -> None:
    text = text_of(path) or ""
    assert text.startswith("#"), f"{path} does not open with a comment: purpose, drawing, inputs, outputs"
    assert yaml.safe_load(text)["name"] == path.stem
