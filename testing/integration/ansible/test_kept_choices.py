"""What a cluster was told once holds for runs that are not told again, by real Ansible on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from testing.ansible_code import ROOT
from testing.integration.ansible.test_private_settings import checkout, play

pytestmark = pytest.mark.integration

CHOICES = ("twin_user", "twin_llm_base_url", "pipecatapp_driver")
TOLD = dict(zip(CHOICES, ("ada", "http://10.9.0.9:8080/v1", "raw_exec"), strict=True))
STEPS = (
    "Read which image the agent runs from",
    "Make the folder of what this cluster was told",
    "Write down what this cluster was told, for runs that are not told again",
)
"""What the agent's job does about them before it is run."""


def run(folder: Path, told: dict[str, str] | None = None) -> dict[str, str]:
    """What a run that submits the agent's job takes the choices to be; it keeps them."""
    tasks = yaml.safe_load((ROOT / "ansible/roles/pipecatapp/tasks/job.yaml").read_text(encoding="utf-8"))
    steps = [task for task in tasks if task["name"] in STEPS]
    assert len(steps) == len(STEPS)
    asked = {name: f"{{{{ {name} }}}}" for name in CHOICES}
    tell: dict[str, Any] = {
        "content": "{{ asked | to_json }}",
        "dest": f"{folder}/asked.json",
        "mode": "0600",
    }
    places = {"twin_prefix": str(folder / "opt"), "twin_choices_file": f"{folder}/facts.d/twin.fact"}
    play(folder, "pipecatapp", [*steps, {"ansible.builtin.copy": tell}], told, asked=asked, **places)
    found: dict[str, str] = json.loads((folder / "asked.json").read_text(encoding="utf-8"))
    return found


def test_what_was_told_once_stays_until_something_else_is_told(tmp_path: Path) -> None:
    folder = checkout(tmp_path)
    (folder / "opt").mkdir()
    # An image of an earlier form is there still.
    (folder / "opt/image").write_text("twin-agent:1\n", encoding="utf-8")
    assert run(folder, TOLD) == TOLD
    assert run(folder) == TOLD
    assert run(folder, {"twin_llm_base_url": ""}) == TOLD | {"twin_llm_base_url": ""}
    assert run(folder) == TOLD | {"twin_llm_base_url": ""}
    assert (folder / "facts.d/twin.fact").stat().st_mode & 0o777 == 0o600


def test_a_cluster_out_of_containers_stays_so_when_an_image_appears(tmp_path: Path) -> None:
    folder = checkout(tmp_path)
    (folder / "opt").mkdir()
    assert run(folder)["pipecatapp_driver"] == "auto"
    (folder / "opt/image").write_text("twin-agent:1\n", encoding="utf-8")
    assert run(folder) == {
        "twin_user": "pipecatapp",
        "twin_llm_base_url": "",
        "pipecatapp_driver": "raw_exec",
    }
