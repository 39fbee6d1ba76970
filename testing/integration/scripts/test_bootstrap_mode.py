"""Where bootstrap.sh looks for Nomad and Consul, held against what a mirror really serves."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest

from pipecatapp.artifacts.artifact_schema import GoArtifact
from pipecatapp.artifacts.catalogue import load_catalogue
from pipecatapp.artifacts.manifest import artifact_key

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]


def said(function: str, program: str) -> str:
    """Return what a function of mode.sh prints about a program."""
    command = f'source "$ROOT/initial-setup/bootstrap/mode.sh"; {function} {program}'
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

    assert said("mirror_path", program) == f"artifacts/{program}/{artifact_key(artifact)}.json"


@pytest.mark.parametrize("program", ["nomad", "consul"])
def test_the_vendor_is_asked_for_this_machines_archive(program: str) -> None:
    artifact = load_catalogue(ROOT / "group_vars").artifact(program)
    assert isinstance(artifact, GoArtifact)
    urls = [release.url for release in artifact.releases if release.machine == platform.machine()]

    assert said("release_url", program) == "".join(urls[:1])
