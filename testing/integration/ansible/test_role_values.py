"""What the roles' variables and templates come to in a cluster and on a machine alone, by real Ansible."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import hcl2
import pytest
import yaml

from testing.ansible_code import ROOT, load_module, load_package

pytestmark = pytest.mark.integration

provision = load_module("ansible/roles/join/files/twin_join", "provision")
inventory_file = load_package("ansible/module_utils/inventory_file")

TIMEOUT_S = 120
CLUSTER = """\
controller_nodes:
  hosts:
    den: {ansible_host: 10.9.0.1, ansible_connection: local}
worker_nodes:
  hosts:
    attic: {ansible_host: 10.9.0.2, ansible_port: 2222}
    cellar: {ansible_host: 10.9.0.3}
"""
ALONE = "controller_nodes:\n  hosts:\n    localhost: {ansible_connection: local}\n"


def run_play(play: dict[str, Any], path: Path, inventory: Path, *arguments: str) -> None:
    """Run a play, written to `path`, with the checkout's settings and none of this shell's."""
    path.write_text(yaml.safe_dump([play]), encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "TWIN_"))}
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", inventory, path, *arguments],
        env=kept | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def values(folder: Path, inventory: str, roles: list[str], wanted: dict[str, str]) -> dict[str, Any]:
    """What Ansible makes of expressions with the variables of `roles`, by machine; none is spoken to."""
    (folder / "inventory.yaml").write_text(inventory, encoding="utf-8")
    (folder / "group_vars").symlink_to(ROOT / "group_vars")
    files = [
        str(path)
        for role in roles
        for kind in ("defaults", "vars")
        if (path := ROOT / "ansible/roles" / role / kind / "main.yaml").is_file()
    ]
    play = {
        "hosts": "controller_nodes:worker_nodes",
        "gather_facts": False,
        "vars_files": files,
        "vars": {"told": wanted},
        "tasks": [
            {
                "delegate_to": "localhost",
                "connection": "local",
                "throttle": 1,
                "become": False,
                "ansible.builtin.copy": {
                    "content": "{{ told | to_json }}",
                    "dest": f"{folder}/{{{{ inventory_hostname }}}}.json",
                    "mode": "0600",
                },
            }
        ],
    }
    run_play(play, folder / "play.yaml", folder / "inventory.yaml")
    machines = [host for group in yaml.safe_load(inventory).values() for host in group["hosts"]]
    return {host: json.loads((folder / f"{host}.json").read_text(encoding="utf-8")) for host in machines}


def test_each_machines_own_ports_are_looked_at(tmp_path: Path) -> None:
    names = ("ports", "ports_cluster", "peer_ports")
    wanted = {name: f"{{{{ preflight_checks_{name} }}}}" for name in names[:2]}
    wanted["peer_ports"] = "{{ _preflight_checks_peer_ports }}"
    found = values(tmp_path, CLUSTER, ["preflight_checks"], wanted)
    assert found["den"]["ports"] == found["attic"]["ports"] == [8000, 8443]
    assert found["den"]["ports_cluster"]["8071"] == "pipecatapp"
    assert found["den"]["ports_cluster"]["8072"] == "twin-join"
    assert found["attic"]["ports_cluster"].keys() == found["den"]["ports_cluster"].keys() - {"8071", "8072"}
    assert found["den"]["peer_ports"] == {"den": 22, "attic": 2222, "cellar": 22}


def test_a_machine_alone_needs_the_language_models_port(tmp_path: Path) -> None:
    found = values(tmp_path, ALONE, ["preflight_checks"], {"ports": "{{ preflight_checks_ports }}"})
    assert found["localhost"]["ports"] == [8000, 8443, 8080]


@pytest.mark.parametrize("where", ["pipecatapp_settings", "pipecatapp_house_settings"])
def test_the_owners_names_come_from_the_first_controllers_settings(tmp_path: Path, where: str) -> None:
    own = f"{{{where}: {{TWIN_HOST_NAMES: 'Twin.fritz.box, ,twin.example.org'}}, ansible_host: 10.9.0.1, "
    inventory = CLUSTER.replace("{ansible_host: 10.9.0.1, ", own)
    found = values(tmp_path, inventory, [], {"names": "{{ twin_further_names }}"})
    assert found["den"] == found["attic"] == {"names": ["Twin.fritz.box", "twin.example.org"]}


def test_without_such_a_setting_there_are_no_further_names(tmp_path: Path) -> None:
    assert values(tmp_path, ALONE, [], {"names": "{{ twin_further_names }}"})["localhost"]["names"] == []


def test_later_joins_reach_a_machine_where_its_ssh_is(tmp_path: Path) -> None:
    template = ROOT / "ansible/roles/join/templates/inventory.yaml.j2"
    written = dict.fromkeys(
        ("controller_nodes", "worker_nodes"), {"hosts": {}, "children": [], "variables": {}}
    )
    given = f"template_vars={{'_written': {written}}}"
    wanted = {"text": f"{{{{ lookup('ansible.builtin.template', '{template}', {given}) }}}}"}
    found = values(tmp_path, CLUSTER, ["join"], wanted)
    own = found["den"]["text"]
    assert provision.addresses_of(own) == {
        "den": ("10.9.0.1", 22),
        "attic": ("10.9.0.2", 2222),
        "cellar": ("10.9.0.3", 22),
    }
    machines = yaml.safe_load(own)
    assert machines["worker_nodes"]["hosts"]["attic"]["ansible_port"] == 2222


def test_later_joins_keep_what_stands_with_a_group(tmp_path: Path) -> None:
    template = ROOT / "ansible/roles/join/templates/inventory.yaml.j2"
    settings = {"TWIN_GREETING": "Ich höre, 'Chef'.", "LLM_API_KEY": "key"}
    own = {
        "pipecatapp_settings": settings,
        "twin_workers": 1,
        "ansible_become_password": "x",
        "ansible_port": 9,
    }
    written = {
        "controller_nodes": {"hosts": {"den": {}}, "children": [], "variables": own},
        "worker_nodes": {"hosts": {}, "children": ["upstairs"], "variables": {}},
        "upstairs": {"hosts": {"attic": {}}, "children": [], "variables": {"twin_workers": 2}},
    }
    given = f"template_vars={{'_written': {written}}}"
    wanted = {"text": f"{{{{ lookup('ansible.builtin.template', \"{template}\", {given}) }}}}"}
    found = values(tmp_path, CLUSTER, ["join"], wanted)
    copy = yaml.safe_load(found["den"]["text"])
    assert copy["controller_nodes"]["vars"] == {"pipecatapp_settings": settings, "twin_workers": 1}
    assert "vars" not in copy["worker_nodes"]
    assert copy["worker_nodes"]["children"] == {"upstairs": None}
    assert copy["upstairs"] == {"hosts": {"attic": None}, "vars": {"twin_workers": 2}}
    assert list(inventory_file.load(found["den"]["text"])["worker_nodes"]) == ["attic", "cellar"]


@pytest.mark.parametrize("name", ["health-check", "memory-service", "pipecatapp", "pipecatapp-docker"])
def test_jobs_ask_consul_where_they_are_told_to(name: str) -> None:
    path = ROOT / f"ansible/jobs/{name}.nomad.hcl"
    text = path.read_text(encoding="utf-8")
    assert "var.consul_url" in text.split("TWIN_CONSUL_URL", 1)[1].splitlines()[0]
    assert "consul_url" in str(hcl2.loads(text)["variable"])


@pytest.mark.parametrize(
    "given", ["pipecatapp/vars/main.yaml", "memory_service/tasks/run.yaml", "health_check/tasks/job.yaml"]
)
def test_jobs_are_told_the_registrys_port_of_consul(given: str) -> None:
    text = (ROOT / "ansible/roles" / given).read_text(encoding="utf-8")
    facts = yaml.safe_load((ROOT / "group_vars/all.yaml").read_text(encoding="utf-8"))
    assert 'consul_url: "{{ twin_consul_url }}"' in text
    assert facts["twin_consul_url"] == "http://127.0.0.1:{{ twin_ports.consul }}"
