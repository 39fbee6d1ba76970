"""Where bootstrap.sh looks for Nomad and Consul, held against what a mirror really serves."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipecatapp.artifacts.artifact_key import read_entry
from pipecatapp.artifacts.artifact_schema import GoArtifact
from pipecatapp.artifacts.catalogue import load_catalogue
from pipecatapp.artifacts.manifest import artifact_key

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]


def said(program: str, wanted: str) -> str:
    """Return what mode.sh reads of the catalogue about a program."""
    command = f'source "$ROOT/initial-setup/bootstrap/mode.sh"; catalogue {program} {wanted}'
    return subprocess.run(
        ["bash", "-c", command],
        env={"ROOT": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout.strip()


@pytest.mark.parametrize("program", ["nomad", "consul"])
def test_the_mirror_is_asked_for_the_name_that_it_serves(program: str) -> None:
    artifact = load_catalogue(ROOT / "group_vars").artifact(program)

    assert said(program, "mirror-path") == f"artifacts/{program}/{artifact_key(artifact)}.json"


@pytest.mark.parametrize("program", ["nomad", "consul"])
def test_the_version_on_path_is_held_against_the_one_that_is_meant(program: str) -> None:
    assert said(program, "version") == load_catalogue(ROOT / "group_vars").artifact(program).version


@pytest.mark.parametrize("program", ["nomad", "consul"])
def test_the_vendor_is_asked_for_this_machines_archive(program: str) -> None:
    artifact = load_catalogue(ROOT / "group_vars").artifact(program)
    assert isinstance(artifact, GoArtifact)
    urls = [release.url for release in artifact.releases if release.machine == platform.machine()]

    assert said(program, "release-url") == "".join(urls[:1])


def values_of(found: Any, path: str = "") -> list[tuple[str, str]]:
    """The texts and lists of an entry as YAML reads it, each with the keys that lead to it."""
    if isinstance(found, dict):
        return [one for key, value in found.items() for one in values_of(value, f"{path}.{key}".strip("."))]
    if isinstance(found, list) and found and isinstance(found[0], dict):
        return [one for value in found for one in values_of(value, path)]
    text = f"[{', '.join(map(str, found))}]" if isinstance(found, list) else str(found)
    return [(path, text)]


@pytest.mark.parametrize("program", ["nomad", "consul"])
def test_an_entry_is_read_without_yaml_as_with_it(program: str) -> None:
    text = (ROOT / "group_vars/artifacts.yaml").read_text(encoding="utf-8")
    entries = yaml.safe_load(text)["artifacts"]
    [first, *_] = [entry for entry in entries if entry["name"] == program]

    assert read_entry(text, program) == values_of(first)
