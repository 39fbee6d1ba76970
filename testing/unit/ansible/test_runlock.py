"""Which playbooks take the lock of runs: all but those whose every play says that it changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play import Play

from testing.ansible_code import ROOT, load_file

pytestmark = pytest.mark.unit

runlock = load_file("runlock", ROOT / "ansible" / "callback_plugins" / "runlock.py")
PLAYBOOKS = sorted([*ROOT.glob("*.yaml"), *(ROOT / "playbooks").rglob("*.yaml")])
LOOKERS = {"cluster_status", "run_health_check", "health", "inventory", "preflight"}


def plays_of(path: Path) -> list[Any]:
    """The plays of a playbook's own file, as Ansible reads them; its roles are not looked up."""
    loaded = DataLoader().load_from_file(str(path))
    entries = loaded if isinstance(loaded, list) else []
    plays = [entry for entry in entries if "hosts" in entry]
    return [Play.load({key: entry[key] for key in ("hosts", "vars") if key in entry}) for entry in plays]


def test_what_only_looks_is_known_by_its_plays() -> None:
    found = {path.stem for path in PLAYBOOKS if (plays := plays_of(path)) and runlock.looks_only(plays)}
    assert found == LOOKERS


def test_one_play_that_changes_something_takes_the_lock() -> None:
    looks = Play.load({"hosts": "all", "vars": {"twin_looks_only": True}})
    assert runlock.looks_only([looks, looks])
    assert not runlock.looks_only([looks, Play.load({"hosts": "all"})])
    assert not runlock.looks_only([Play.load({"hosts": "all", "vars": {"twin_looks_only": False}})])
