"""Machines come, change what they are, and go: by token, by promotion, by removal; and who may not, does not.

The tests go on from one another, in order, on the house that `test_house` has brought up.
"""

from __future__ import annotations

import shutil

import pytest

from testing.cluster.house import House, wait_for
from testing.hosts.cluster import Node

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]

JOIN_TIMEOUT_S = 1200.0
SETTLE_TIMEOUT_S = 120.0
JOIN = "cd /srv/twin && ./bootstrap.sh --role worker --controller-ip"


@pytest.fixture(scope="module")
def fourth(house: House) -> Node:
    """One more machine with a checkout, not in any inventory."""
    node = house.cluster.add_host()
    shutil.copytree(
        house.nodes[0].root / "opt/twin/checkout", node.root / "srv/twin", symlinks=True, dirs_exist_ok=True
    )
    return node


def token(house: House) -> str:
    return house.nodes[0].run("twin-join", "token", "create", "--ttl", "30m").stdout.strip()


def try_to_join(house: House, node: Node, text: str) -> str:
    """Join with a token that is no good; return what was said."""
    with pytest.raises(RuntimeError) as caught:
        node.run("bash", "-c", f"TWIN_JOIN_TOKEN={text} {JOIN} {house.nodes[0].address}", timeout_s=120)
    return str(caught.value)


def voters(house: House) -> set[str]:
    servers = house.nomad("/v1/operator/raft/configuration")["Servers"]
    nomad = {server["Node"].split(".")[0] for server in servers if server["Voter"]}
    consul = {
        server["Node"]
        for server in house.consul("/v1/operator/raft/configuration")["Servers"]
        if server["Voter"]
    }
    assert nomad == consul
    return nomad


def ready(house: House) -> set[str]:
    return {node["Name"] for node in house.nomad("/v1/nodes") if node["Status"] == "ready"}


def test_a_machine_without_a_good_token_gets_nothing(house: House, fourth: Node) -> None:
    good = token(house)
    wrong = f"abc234.{'b' * 26}.{good.rsplit('.', 1)[1]}"
    stranger = f"{good.rsplit('.', 1)[0]}.{'a' * 32}"

    assert "not known here" in try_to_join(house, fourth, wrong)
    assert "is not the controller that made this token" in try_to_join(house, fourth, stranger)
    assert "This is no token" in try_to_join(house, fourth, "nonsense")
    house.nodes[0].run("twin-join", "token", "revoke", good[:6])
    assert "not known here" in try_to_join(house, fourth, good)
    log = house.nodes[0].run("journalctl", "-u", "twin-join", "--no-pager").stdout
    assert "refused: unknown token abc234" in log
    assert good.split(".")[1] not in log
    assert fourth.name not in ready(house)


def test_a_machine_joins_by_token_and_the_token_is_used_up(house: House, fourth: Node) -> None:
    good = token(house)
    command = f"TWIN_JOIN_TOKEN={good} {JOIN} {house.nodes[0].address}"
    said = fourth.run("bash", "-c", command, timeout_s=JOIN_TIMEOUT_S).stdout

    assert f"{fourth.name} is part of the cluster." in said
    assert fourth.name in ready(house)
    assert f"    {fourth.name}:\n" in house.nodes[0].run("cat", "/etc/twin/inventory.yaml").stdout
    assert "used already" in try_to_join(house, fourth, good)


def test_an_inventory_that_has_not_heard_of_it_is_refused(house: House, fourth: Node) -> None:
    house.cluster.write_inventory(house.nodes[:1], house.nodes[1:3])
    played = house.play("playbook.yaml", log="forgets", must_pass=False)
    assert played.status != 0
    assert f"{fourth.name} joined this cluster and is not in the inventory" in played.output
    house.cluster.write_inventory(house.nodes[:1], house.nodes[1:])


def test_a_machine_is_removed_and_the_others_go_on(house: House, fourth: Node) -> None:
    house.play("playbooks/remove_node.yaml", variables={"hostname": fourth.name}, log="remove")

    assert fourth.name not in {node["Name"] for node in house.nomad("/v1/nodes")}
    assert fourth.name not in house.cluster.inventory.read_text(encoding="utf-8")
    assert "391" in house.chat(house.nodes[1], "What is 17 times 23?")["text"]


def test_an_even_number_of_controllers_is_refused(house: House) -> None:
    wanted = {"hostname": house.nodes[1].name}
    played = house.play("playbooks/promote_controller.yaml", variables=wanted, log="even", must_pass=False)
    assert played.status != 0
    assert "That would make 2 controllers" in played.output
    assert voters(house) == {house.nodes[0].name}


def test_both_workers_are_promoted_one_after_the_other(house: House) -> None:
    names = [node.name for node in house.nodes[1:3]]
    house.play("playbooks/promote_controller.yaml", variables={"hostname": ",".join(names)}, log="promote")

    assert voters(house) == {node.name for node in house.nodes[:3]}
    assert {node.name for node in house.nodes[:3]} <= ready(house)
    wait_for(
        "an answer",
        lambda: "391" in house.chat(house.nodes[2], "What is 17 times 23?")["text"],
        SETTLE_TIMEOUT_S,
    )


def test_both_are_workers_again_and_keep_no_secret(house: House) -> None:
    names = [node.name for node in house.nodes[1:3]]
    house.play("playbooks/demote_controller.yaml", variables={"hostname": ",".join(names)}, log="demote")

    assert voters(house) == {house.nodes[0].name}
    for node in house.nodes[1:3]:
        assert node.run("ls", "-A", "/var/lib/twin").stdout.split().count("cluster") == 0
    assert house.play("playbook.yaml", log="after-demote").changed == 0
