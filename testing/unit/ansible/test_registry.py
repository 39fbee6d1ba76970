"""The registry of ports and the list of steps say the same everywhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[3]
FACTS = yaml.safe_load((ROOT / "group_vars/all.yaml").read_text(encoding="utf-8"))


def test_no_port_is_named_twice() -> None:
    ports = dict(FACTS["twin_ports"])
    base = ports.pop("worker_base")
    taken = [*ports.values(), *range(base + 1, base + 10)]
    assert len(taken) == len(set(taken))


def test_a_workers_number_is_the_last_digit_of_its_port() -> None:
    assert FACTS["twin_ports"]["worker_base"] % 10 == 0


def test_roles_name_no_port_themselves() -> None:
    numbers = "|".join(str(port) for port in FACTS["twin_ports"].values())
    named = re.compile(rf"(?<![\d.]){numbers}(?![\d.])".replace(numbers, f"(?:{numbers})"))
    faults = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sorted((ROOT / "ansible/roles").rglob("*.yaml"))
        + sorted((ROOT / "ansible/roles").rglob("*.j2"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if named.search(line.split("#", 1)[0])
    ]
    assert faults == []


def test_a_playbooks_last_play_is_named_as_its_step() -> None:
    for entry in yaml.safe_load((ROOT / "playbook.yaml").read_text(encoding="utf-8")):
        path = ROOT / entry["ansible.builtin.import_playbook"]
        plays = [play["name"].lower() for play in yaml.safe_load(path.read_text(encoding="utf-8"))]
        assert plays[-1] == path.stem
        assert plays.count(path.stem) == 1
