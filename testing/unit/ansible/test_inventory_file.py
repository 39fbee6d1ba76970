"""The inventory's rules and its edit: what is refused, and that comments, order and meaning stay."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import yaml

from testing.ansible_code import ROOT, load_package

pytestmark = pytest.mark.unit

importlib.import_module("ansible.plugins.loader")  # looks up a name when it is imported, which no test may
inventory = load_package("ansible/module_utils/inventory_file")

SHIPPED = (ROOT / "inventory.yaml").read_text(encoding="utf-8")
THREE = """---
# The house.

controller_nodes:
  hosts:
    den: # under the stairs
      ansible_host: 10.0.0.1
      ansible_connection: local

worker_nodes:
  hosts:
    # The loud one.
    # Never at night.
    attic:
      ansible_host: 10.0.0.2
    cellar:
      ansible_host: 10.0.0.3

pxe_server:
  hosts:
    den:
"""


def change(
    action: str, text: str, name: str = "", group: str = "", even: bool = False, **variables: str
) -> str:
    changed: str = inventory.apply(action, text, name, variables, group, even)
    return changed


def hosts(text: str, group: str) -> list[str]:
    return list(inventory.load(text)[group])


def test_the_shipped_inventory_is_right() -> None:
    inventory.check(SHIPPED)


def test_the_machine_that_is_alone_gets_its_name_and_the_comments_stay() -> None:
    named = change("name-this", SHIPPED, "den", ansible_host="10.0.0.1", ansible_connection="local")
    assert hosts(named, "controller_nodes") == ["den"]
    assert named.startswith(SHIPPED[: SHIPPED.index("controller_nodes")])
    assert change("name-this", named, "den", ansible_host="10.0.0.9") == named


def test_the_machine_that_gets_its_name_keeps_its_settings() -> None:
    own = "      pipecatapp_settings:\n        TWIN_GREETING: Ich höre, 'Chef'.\n      twin_workers: 1\n"
    local = "      ansible_connection: local\n"
    named = change("name-this", SHIPPED.replace(local, local + own), "den", ansible_host="10.0.0.1")

    assert inventory.load(named)["controller_nodes"]["den"] == {
        "ansible_host": "10.0.0.1",
        "pipecatapp_settings": {"TWIN_GREETING": "Ich höre, 'Chef'."},
        "twin_workers": 1,
    }


def test_a_machine_that_is_no_controller_of_a_named_inventory_is_refused() -> None:
    with pytest.raises(inventory.InventoryError, match="controllers are den, and this machine is 'attic'"):
        change("name-this", THREE, "attic")


def test_a_worker_is_added_at_the_end_and_every_other_line_stays() -> None:
    added = change("add", THREE, "garage", ansible_host="10.0.0.4", ansible_user="twin-admin")
    assert hosts(added, "worker_nodes") == ["attic", "cellar", "garage"]
    block = "    garage:\n      ansible_host: 10.0.0.4\n      ansible_user: twin-admin\n"
    assert added.replace(block, "") == THREE


def test_adding_the_same_again_changes_nothing_and_a_new_address_replaces_the_old() -> None:
    assert change("add", THREE, "cellar", ansible_host="10.0.0.3") == THREE
    assert change("add", THREE, "cellar", ansible_host="10.0.0.9") == THREE.replace("10.0.0.3", "10.0.0.9")


def test_moving_takes_the_comment_along_and_back_again() -> None:
    up = change(
        "move", change("move", THREE, "attic", "controller_nodes", True), "cellar", "controller_nodes"
    )
    assert hosts(up, "controller_nodes") == ["den", "attic", "cellar"]
    assert "  hosts: {}\n" in up
    comment = "    # The loud one.\n    # Never at night.\n    attic:\n      ansible_host: 10.0.0.2\n"
    assert comment in up
    down = change("move", change("move", up, "attic", "worker_nodes", True), "cellar", "worker_nodes")
    assert down == THREE


def test_an_even_number_of_controllers_is_refused_with_its_reason() -> None:
    with pytest.raises(inventory.InventoryError, match="2 controllers .den, attic.*1, 3 or 5.*tie"):
        change("move", THREE, "attic", "controller_nodes")


def test_removing_the_last_worker_leaves_an_empty_group() -> None:
    text = change("remove", change("remove", THREE, "attic"), "cellar")
    assert hosts(text, "worker_nodes") == []
    assert "worker_nodes:\n  hosts: {}\n" in text
    assert "loud" not in text


def test_the_first_controller_stays() -> None:
    for action in ("remove", "move"):
        with pytest.raises(inventory.InventoryError, match="first controller: it keeps"):
            change(action, THREE, "den", "worker_nodes" if action == "move" else "")


def test_the_first_controller_goes_when_it_is_lost_for_good() -> None:
    three = change(
        "move", change("move", THREE, "attic", "controller_nodes", even=True), "cellar", "controller_nodes"
    )
    left = inventory.apply("remove", three, "den", {}, "", True, True)
    assert hosts(left, "controller_nodes") == ["attic", "cellar"]
    with pytest.raises(inventory.InventoryError):
        inventory.apply("remove", THREE, "den", {}, "", True, True)


def test_a_name_that_is_not_there_lists_those_that_are() -> None:
    with pytest.raises(inventory.InventoryError, match="has: den, attic, cellar"):
        change("remove", THREE, "barn")


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (THREE.replace("worker_nodes", "workers"), "unknown group 'workers'; known: controller_nodes"),
        (THREE.replace("10.0.0.3", "10.0.0.2"), "'attic' and 'cellar' have the same address, 10.0.0.2; each"),
        (THREE.replace("    cellar:", "    attic:"), "'attic' is there twice"),
        (
            THREE.replace("    cellar:\n      ansible_host: 10.0.0.3\n", "    den:\n"),
            r"'den' \(line 6\) is in controller_nodes and",
        ),
        (
            THREE.replace("    cellar:\n", "    Cellar Box:\n"),
            r"'Cellar Box' \(line 16\) is no name.*call it `cellar-box`",
        ),
        (THREE.replace("10.0.0.3", "[10]"), "which is not text"),
        (
            THREE.replace("10.0.0.3", "10.0.0.3\n      ansible_user: [ada]"),
            r"'ansible_user' of 'cellar' is '\['ada'\]', a list; write one word",
        ),
        (
            "controller_nodes:\n  hosts: [den]\n",
            "mapping of names.*not a list",
        ),
        ("controller_nodes:\n  hosts:\n    den: 10.0.0.1\n", "'10.0.0.1' where its variables belong"),
        ("controller_nodes:\n  - den\n", "is a mapping with `hosts:`"),
        ("worker_nodes:\n  hosts: {}\n", "There would be 0 controllers"),
        ("controller_nodes: [\n", "no valid YAML: line"),
        ("just words\n", "has no groups"),
        (
            THREE.replace("    den: #", "    localhost: #").replace("    den:", "    localhost:"),
            "one of several",
        ),
    ],
)
def test_a_wrong_inventory_says_what_is_wrong(broken: str, sentence: str) -> None:
    with pytest.raises(inventory.InventoryError, match=sentence):
        inventory.check(broken)


@pytest.mark.parametrize(
    ("name", "address", "sentence"),
    [
        ("Barn", "10.0.0.9", "no name of a machine"),
        ("localhost", "10.0.0.9", "the name of a machine that is alone"),
        ("101", "10.0.0.9", "call it `node101`"),
        ("barn", "fd00::9", "is IPv6"),
        ("a\n  b", "10.0.0.9", "no name of a machine"),
        ("barn", "10.0.0.9\n      ansible_connection: local", "no address"),
        ("barn", "10.0.0.2", "same address"),
        ("den", "10.0.0.9", "is in controller_nodes already"),
    ],
)
def test_a_machine_that_cannot_be_added_is_refused(name: str, address: str, sentence: str) -> None:
    with pytest.raises(inventory.InventoryError, match=sentence):
        change("add", THREE, name, ansible_host=address)


def test_values_that_yaml_would_read_otherwise_are_quoted() -> None:
    added = change("add", THREE, "barn", ansible_host="10.0.0.9", note="yes: #it's", flag="true")
    assert yaml.safe_load(added)["worker_nodes"]["hosts"]["barn"] == {
        "ansible_host": "10.0.0.9",
        "note": "yes: #it's",
        "flag": "true",
    }


@pytest.mark.parametrize(
    "empty",
    [
        "worker_nodes:\n",
        "worker_nodes: {}\n",
        "worker_nodes:\n  hosts:\n",
        "worker_nodes:\n  hosts: {}\n",
        "",
    ],
)
def test_every_way_to_write_an_empty_group_can_be_filled(empty: str) -> None:
    text = f"controller_nodes:\n  hosts:\n    den:\n{empty}"
    added = change("add", text, "attic", ansible_host="10.0.0.2")
    assert hosts(added, "worker_nodes") == ["attic"]


def test_hosts_in_braces_are_refused_not_mangled() -> None:
    text = "controller_nodes:\n  hosts: {den: {}}\nworker_nodes:\n  hosts: {attic: {}, cellar: {}}\n"
    with pytest.raises(inventory.InventoryError, match="on a line of its own"):
        change("remove", text, "attic")


def test_a_change_keeps_a_backup_the_mode_and_nothing_else_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text(THREE, encoding="utf-8")
    path.chmod(0o640)
    assert inventory.change_file(path, lambda text: change("remove", text, "attic"))
    assert not inventory.change_file(path, lambda text: text)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["inventory.yaml", "inventory.yaml.backup"]
    assert path.stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "inventory.yaml.backup").read_text(encoding="utf-8") == THREE


def test_a_refused_change_leaves_the_file_and_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text(THREE, encoding="utf-8")
    with pytest.raises(inventory.InventoryError):
        inventory.change_file(path, lambda text: change("remove", text, "barn"))
    assert inventory.change_file(path, lambda text: change("remove", text, "attic"), dry_run=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["inventory.yaml"]
    assert path.read_text(encoding="utf-8") == THREE


def test_a_second_change_waits_for_the_first_and_then_says_so(tmp_path: Path) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text(THREE, encoding="utf-8")
    with inventory.locked(tmp_path), pytest.raises(inventory.InventoryError, match="Another change"):
        inventory.change_file(path, lambda text: text, timeout_s=0.0)


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(inventory.InventoryError, match="cannot be changed: No such file"):
        inventory.change_file(tmp_path / "inventory.yaml", lambda text: text)


ALL = """---
all:
  vars:
    ansible_user: root
  children:
    house:
      children:
        controller_nodes:
          hosts:
            den:
              ansible_host: 10.0.0.1
        worker_nodes:
          children:
            upstairs:
              hosts:
                attic:
                  ansible_host: 10.0.0.2
            downstairs:
              hosts:
                cellar: # damp
                  ansible_host: 10.0.0.3
"""
INI = """# The house.
[controller_nodes]
den ansible_host=10.0.0.1

[worker_nodes]
node[01:03]

[house:children]
controller_nodes
worker_nodes
"""
NAMES = ["den", "attic", "cellar"]


def test_groups_of_groups_below_all_are_read_as_ansible_reads_them() -> None:
    inventory.check(ALL)
    assert hosts(ALL, "controller_nodes") == ["den"]
    assert hosts(ALL, "worker_nodes") == ["attic", "cellar"]


def test_ini_and_ranges_are_read_as_ansible_reads_them() -> None:
    inventory.check(INI)
    assert hosts(INI, "worker_nodes") == ["node01", "node02", "node03"]
    ranges = (
        "controller_nodes: {hosts: {den: }}\nworker_nodes:\n  hosts:\n    node[1:2]:\n    box-[a:c]: {}\n"
    )
    inventory.check(ranges)
    assert hosts(ranges, "worker_nodes") == ["node1", "node2", "box-a", "box-b", "box-c"]


def test_machines_below_all_are_added_moved_and_removed_and_every_other_line_stays() -> None:
    added = change("add", ALL, "garage", ansible_host="10.0.0.4")
    assert hosts(added, "worker_nodes") == ["garage", "attic", "cellar"]
    assert [line for line in added.splitlines() if line not in ALL.splitlines()] == [
        "            garage:",
        "              ansible_host: 10.0.0.4",
    ]
    removed = change("remove", ALL, "cellar")
    assert removed == ALL.replace(
        "hosts:\n                cellar: # damp\n                  ansible_host: 10.0.0.3", "hosts: {}"
    )
    moved = change(
        "move", change("move", ALL, "attic", "controller_nodes", True), "cellar", "controller_nodes"
    )
    assert hosts(moved, "controller_nodes") == NAMES
    assert hosts(moved, "worker_nodes") == []
    assert "            cellar: # damp\n              ansible_host: 10.0.0.3\n" in moved


def test_a_new_address_below_all_replaces_the_old() -> None:
    assert change("add", ALL, "cellar", ansible_host="10.0.0.9") == ALL.replace(
        "10.0.0.3", "10.0.0.9"
    ).replace(" # damp", "")


def test_the_machine_that_is_alone_below_all_gets_its_name() -> None:
    alone = ALL.split("        worker_nodes")[0].replace("den:", "localhost:")
    named = change("name-this", alone, "den", ansible_host="10.0.0.1")
    assert hosts(named, "controller_nodes") == ["den"]
    assert named == alone.replace("localhost:", "den:")


def test_a_machine_of_a_range_is_changed_by_nobody_but_a_person() -> None:
    text = "controller_nodes: {hosts: {den: }}\nworker_nodes:\n  hosts:\n    node[1:3]:\n"
    with pytest.raises(
        inventory.InventoryError, match=r"'node2' \(line 4\) is one of node\[1:3\]; write each machine"
    ):
        change("remove", text, "node2")


def test_ini_is_changed_by_nobody_but_a_person() -> None:
    with pytest.raises(
        inventory.InventoryError, match="is INI .*ansible-inventory -i FILE --list --export --yaml"
    ):
        change("remove", INI, "node02")


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (
            ALL.replace("cellar:", "Cellar_Box:"),
            r"^'Cellar_Box' \(line 20\) is no name.*call it `cellar-box`\.$",
        ),
        (
            ALL.replace("cellar:", "101:"),
            r"^'101' in 'downstairs' \(line 20\) is no name.*call it `node101`\.$",
        ),
        (ALL.replace("cellar:", "'101':"), r"^'101' \(line 20\) is no name.*call it `node101`\.$"),
        (
            ALL.replace("cellar:", "fd00::3:"),
            r"^'fd00::3' in 'downstairs' \(line 20\).*node1: {ansible_host: fd00::3}`\.$",
        ),
        (
            ALL.replace("cellar:", "10.0.0.3:"),
            r"^'10.0.0.3' \(line 20\).*node1: {ansible_host: 10.0.0.3}`\.$",
        ),
        (
            ALL.replace("10.0.0.3", "fd00::3"),
            r"^The address of 'cellar' \(line 20\), fd00::3, is IPv6.*its IPv4 address there\.$",
        ),
        (
            ALL.replace("10.0.0.3", "10.0.0.2"),
            r"^'attic' and 'cellar' have the same address.*one name \(line 20\)\.$",
        ),
        (
            ALL.replace("worker_nodes", "workers"),
            r"unknown group 'upstairs'.* 'attic' \(line 16\) would be left out",
        ),
        (ALL + "ungrouped:\n  hosts:\n    barn:\n", r"^'barn' \(line 24\) is in none of the groups"),
        (
            ALL.replace(
                "              hosts:\n                cellar", "              host:\n                cellar"
            ),
            "put 'host' .line 19. below",
        ),
        (INI.replace("[house:children]", "[house:children"), "^Ansible cannot read the inventory, line 8: "),
        (
            INI.replace("node[01:03]", "Node_[01:03]"),
            r"^'Node_01' \(line 6\) is no name.*call it `node-01`\.$",
        ),
        (
            INI.replace("node[01:03]", "attic\n10.0.0.4"),
            r"^'10.0.0.4' \(line 7\).*node1: {ansible_host: 10.0.0.4}`\.$",
        ),
    ],
)
def test_what_other_forms_say_wrong_is_told_with_its_line_and_what_to_write(
    broken: str, sentence: str
) -> None:
    with pytest.raises(inventory.InventoryError, match=sentence) as refused:
        inventory.check(broken)
    assert "\n" not in str(refused.value)
