"""Two runs that change the cluster: the second is refused, and a dead one leaves no lock behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from testing.ansible_code import ROOT

pytestmark = pytest.mark.integration

TIMEOUT_S = 120
PLAY = """\
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - ansible.builtin.copy: {content: "x", dest: "%s/begun", mode: "0600"}
    - ansible.builtin.wait_for: {path: "%s/go-on", timeout: 100, sleep: 1}
"""
LOOK = """\
- hosts: localhost
  connection: local
  gather_facts: false
  vars: {twin_looks_only: true}
  tasks:
    - ansible.builtin.debug: {msg: "all is well"}
"""


def play(folder: Path, name: str, lock: str, text: str = "") -> subprocess.Popen[str]:
    path = folder / name
    path.write_text(text or PLAY % (folder, folder), encoding="utf-8")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "TWIN_"))}
    given = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "LC_ALL": "C.UTF-8", "TWIN_RUN_LOCK": lock}
    return subprocess.Popen(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", "localhost,", path],
        env=kept | given, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    )  # fmt: skip


def wait_until_begun(folder: Path, run: subprocess.Popen[str]) -> None:
    while not (folder / "begun").exists():
        assert run.poll() is None, run.communicate()[0]


def test_a_second_run_is_refused_with_who_is_at_work(tmp_path: Path) -> None:
    with play(tmp_path, "upgrade.yaml", str(tmp_path)) as first:
        wait_until_begun(tmp_path, first)
        with play(tmp_path, "playbook.yaml", str(tmp_path)) as second:
            said, _ = second.communicate(timeout=TIMEOUT_S)
        assert second.returncode != 0
        assert f"Another run is changing this cluster (process {first.pid}:" in said
        assert "upgrade.yaml" in said
        with play(tmp_path, "cluster_status.yaml", str(tmp_path), LOOK) as look:
            said, _ = look.communicate(timeout=TIMEOUT_S)
        assert look.returncode == 0
        assert "all is well" in said
        (tmp_path / "go-on").touch()
        assert first.wait(TIMEOUT_S) == 0
    with play(tmp_path, "playbook.yaml", str(tmp_path)) as third:
        assert third.wait(TIMEOUT_S) == 0


def test_a_run_that_was_killed_holds_nobody_up(tmp_path: Path) -> None:
    with play(tmp_path, "playbook.yaml", str(tmp_path)) as first:
        wait_until_begun(tmp_path, first)
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
    (tmp_path / "go-on").touch()
    with play(tmp_path, "playbook.yaml", str(tmp_path)) as second:
        assert second.wait(TIMEOUT_S) == 0


def test_who_holds_the_lock_already_starts_a_run_without_it(tmp_path: Path) -> None:
    with play(tmp_path, "upgrade.yaml", str(tmp_path)) as first:
        wait_until_begun(tmp_path, first)
        (tmp_path / "go-on").touch()
        with play(tmp_path, "playbook.yaml", "") as second:
            assert second.wait(TIMEOUT_S) == 0
        assert first.wait(TIMEOUT_S) == 0
