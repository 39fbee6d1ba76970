"""Inventories that are wrong: `playbook.yaml` ends in one sentence, and no machine is spoken to."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testing.ansible_code import ROOT

pytestmark = pytest.mark.integration

TIMEOUT_S = 120


@pytest.fixture
def ear() -> Iterator[socket.socket]:
    """A port where ssh would be, which notices whoever knocks."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


def inventory(port: int, attic: str = "ansible_host: 127.0.0.2", more: str = "") -> str:
    """One of a controller and a worker; `attic` and `more` are the worker's variables and further lines."""
    reached = f"ansible_port: {port}, ansible_user: root"
    return (
        "controller_nodes:\n  hosts:\n"
        f"    den: {{ansible_host: 127.0.0.1, {reached}}}\n"
        f"worker_nodes:\n  hosts:\n    attic: {{{attic}, {reached}}}\n{more}"
    )


def play(path: Path, text: str, playbook: str = "playbook.yaml", **given: str) -> subprocess.Popen[str]:
    """Run the whole playbook, or another one with variables, against an inventory of this text."""
    path.write_text(text, encoding="utf-8")
    (path.parent / "group_vars").symlink_to(ROOT / "group_vars")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "TWIN_"))}
    return subprocess.Popen(
        [
            Path(sys.executable).with_name("ansible-playbook"),
            "-i",
            path,
            ROOT / playbook,
            "-e",
            json.dumps(given),
        ],
        cwd=ROOT,
        env=kept | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        (
            "worker_nodes:\n  hosts:\n",
            "",
            "There would be 2 controllers (den, attic); use 1, 3 or 5: an even number",
        ),
        (
            "worker_nodes:",
            "workers:",
            "unknown group 'workers'; known: controller_nodes, worker_nodes, pxe_server.",
        ),
        (
            "127.0.0.2",
            "127.0.0.1",
            "'den' and 'attic' have the same address, 127.0.0.1; each machine has one",
        ),
        (
            "127.0.0.2",
            "[127.0.0.2]",
            "The address of 'attic' is '['127.0.0.2']', which is not text; write it as",
        ),
        ("attic: {", "attic: {ansible_become_user: {a: b}, ", "'ansible_become_user' of 'attic' is"),
        (
            "  hosts:\n    attic",
            "  hosts: [attic]\nother:\n    attic",
            "`hosts:` of 'worker_nodes' is a mapping",
        ),
        (
            "attic",
            "101",
            "'101' in 'worker_nodes' (line 6) is no name of a machine: small letters, digits and dashes",
        ),
        ("attic", "Attic_2", "'Attic_2' (line 6) is no name of a machine: small letters, digits and dashes"),
        ("attic", "fd00::2", "'fd00::2' in 'worker_nodes' (line 6) is no name of a machine"),
        ("127.0.0.2", "fd00::2", "The address of 'attic' (line 6), fd00::2, is IPv6, and nodes talk"),
    ],
)
def test_wrong_inventory_ends_in_a_sentence_before_any_machine_is_spoken_to(
    tmp_path: Path, ear: socket.socket, before: str, after: str, sentence: str
) -> None:
    path = tmp_path / "inventory.yaml"
    right = inventory(ear.getsockname()[1])
    assert before in right
    with play(path, right.replace(before, after)) as run:
        said, _ = run.communicate(timeout=TIMEOUT_S)

    told = [line for line in said.splitlines() if sentence in line]
    assert told, said
    assert str(path) in told[0]
    assert run.returncode != 0
    with pytest.raises(BlockingIOError):
        ear.accept()


def below_all(text: str) -> str:
    """The same with every group below `all:`, in a group of groups."""
    lines = [f"        {line}\n" for line in text.splitlines()]
    return "all:\n  children:\n    house:\n      children:\n" + "".join(lines)


def as_ini(text: str) -> str:
    """The same as INI, the worker as a range of one."""
    port = text.split("ansible_port: ")[1].split(",")[0]
    return (
        f"[controller_nodes]\nden ansible_host=127.0.0.1\n[worker_nodes]\nattic[1:1] ansible_host=127.0.0.2\n"
        f"[all:vars]\nansible_port={port}\nansible_user=root\n"
    )


def test_inventory_that_is_right_is_gone_on_with(tmp_path: Path, ear: socket.socket) -> None:
    """The proof that the ear hears: the first machine is spoken to, and no ssh server answers there."""
    ear.settimeout(TIMEOUT_S)
    with play(tmp_path / "inventory.yaml", inventory(ear.getsockname()[1])) as run:
        ear.accept()[0].close()
        said, _ = run.communicate(timeout=TIMEOUT_S)

    assert "den cannot be reached" in said
    assert run.returncode != 0


@pytest.mark.parametrize(
    ("name", "form"),
    [("inventory.yaml", below_all), ("hosts.ini", as_ini), ("inventory.yaml", as_ini)],
)
def test_every_form_of_an_inventory_is_gone_on_with(
    tmp_path: Path, ear: socket.socket, name: str, form: Callable[[str], str]
) -> None:
    ear.settimeout(TIMEOUT_S)
    with play(tmp_path / name, form(inventory(ear.getsockname()[1]))) as run:
        ear.accept()[0].close()
        # It has knocked, which is all that is asked here.
        run.terminate()
        run.communicate(timeout=TIMEOUT_S)


def test_a_machine_that_no_inventory_has_is_removed_only_as_gone(tmp_path: Path, ear: socket.socket) -> None:
    path, text = tmp_path / "inventory.yaml", inventory(ear.getsockname()[1])
    with play(path, text, "playbooks/remove_node.yaml", hostname="barn") as run:
        said, _ = run.communicate(timeout=TIMEOUT_S)
    assert "'barn' is no machine of the inventory; they are: den, attic" in said
    assert "-e gone=true" in said
    with pytest.raises(BlockingIOError):
        ear.accept()


@pytest.mark.parametrize(
    ("playbook", "machine"), [("remove_node", "attic1"), ("promote_controller", "attic1")]
)
def test_a_change_that_the_inventorys_form_does_not_let_be_is_refused_before_any_machine_is_spoken_to(
    tmp_path: Path, ear: socket.socket, playbook: str, machine: str
) -> None:
    text = as_ini(inventory(ear.getsockname()[1]))
    with play(
        tmp_path / "hosts.ini", text, f"playbooks/{playbook}.yaml", hostname=machine, allow_even="true"
    ) as run:
        said, _ = run.communicate(timeout=TIMEOUT_S)
    assert "This inventory is INI (line 1), and only YAML is changed by a program" in said
    assert run.returncode != 0
    with pytest.raises(BlockingIOError):
        ear.accept()


def test_a_gone_machine_that_no_inventory_has_is_asked_about_at_the_first_controller(
    tmp_path: Path, ear: socket.socket
) -> None:
    ear.settimeout(TIMEOUT_S)
    path, text = tmp_path / "inventory.yaml", inventory(ear.getsockname()[1])
    with play(path, text, "playbooks/remove_node.yaml", hostname="barn", gone="true") as run:
        ear.accept()[0].close()
        said, _ = run.communicate(timeout=TIMEOUT_S)
    assert "no machine of the inventory" not in said
    assert "den cannot be reached" in said
