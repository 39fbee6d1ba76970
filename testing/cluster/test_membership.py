"""Machines come, change what they are, and go: by token, by promotion, by removal; and who may not, does not.

The tests go on from one another, in order, on the house that `test_house` has brought up.
"""

from __future__ import annotations

import shutil
import time

import pytest
import yaml

from testing.cluster.house import House, say, wait_for, will_not_start
from testing.hosts.cluster import LENT_MODELS, Node

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]

JOIN_TIMEOUT_S = 1200.0
SETTLE_TIMEOUT_S = 180.0
SENTENCE_TIMEOUT_S = 15.0
JOIN = "cd /srv/twin && TWIN_JOIN_TOKEN={} ./bootstrap.sh --role worker --controller-ip {}"


@pytest.fixture(scope="module")
def fourth(house: House) -> Node:
    """One more machine with a checkout, not in any inventory.

    Its users have other numbers than the others' (the one that the controller comes in as is made first), so
    that it cannot share a folder of models with them; it gets its models from the controller.
    """
    node = house.cluster.add_host(without=[LENT_MODELS])
    shutil.copytree(
        house.nodes[0].root / "opt/twin/checkout", node.root / "srv/twin", symlinks=True, dirs_exist_ok=True
    )
    return node


def token(house: House) -> str:
    return house.nodes[0].run("twin-join", "token", "create", "--ttl", "30m").stdout.strip()


def try_to_join(house: House, node: Node, text: str) -> str:
    """Join with a token that is no good; return what was said."""
    with pytest.raises(RuntimeError) as caught:
        node.run("bash", "-c", JOIN.format(text, house.nodes[0].address), timeout_s=240)
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
    assert fourth.name not in house.ready()


def test_a_machine_joins_by_token_and_the_token_is_used_up(house: House, fourth: Node) -> None:
    good = token(house)
    command = JOIN.format(good, house.nodes[0].address)
    said = fourth.run("bash", "-c", command, timeout_s=JOIN_TIMEOUT_S).stdout

    assert f"{fourth.name} is part of the cluster." in said
    assert fourth.name in house.ready()
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
    house.cluster.remove_host(fourth)
    assert "391" in house.chat(house.nodes[1], "What is 17 times 23?")["text"]


def test_an_even_number_of_controllers_is_refused(house: House) -> None:
    wanted = {"hostname": house.nodes[1].name}
    played = house.play("playbooks/promote_controller.yaml", variables=wanted, log="even", must_pass=False)
    assert played.status != 0
    assert "That would make 2 controllers" in played.output
    assert voters(house) == {house.nodes[0].name}


def test_a_promotion_that_fails_is_undone(house: House) -> None:
    before = yaml.safe_load(house.cluster.inventory.read_text(encoding="utf-8"))
    names = [node.name for node in house.nodes[1:3]]
    # Consul's part has been done then, and is to be taken back with a vote that counts.
    with will_not_start(house.nodes[1], "nomad", "! grep -q raft_multiplier /etc/nomad.d/nomad.hcl"):
        wanted = {"hostname": ",".join(names)}
        played = house.play(
            "playbooks/promote_controller.yaml", variables=wanted, log="promote-undone", must_pass=False
        )

    assert played.status != 0
    assert f"{names[0]} was not promoted and is the worker that it was" in played.output
    assert voters(house) == {house.nodes[0].name}
    assert yaml.safe_load(house.cluster.inventory.read_text(encoding="utf-8")) == before
    assert not (house.nodes[1].root / "var/lib/twin-cluster").exists()
    assert {node.name for node in house.nodes[:3]} <= house.ready()
    assert house.play("playbook.yaml", log="after-undone").changes == []


def test_both_workers_are_promoted_one_after_the_other(house: House) -> None:
    names = [node.name for node in house.nodes[1:3]]
    house.play("playbooks/promote_controller.yaml", variables={"hostname": ",".join(names)}, log="promote")

    assert voters(house) == {node.name for node in house.nodes[:3]}
    assert {node.name for node in house.nodes[:3]} <= house.ready()
    wait_for(
        "an answer",
        lambda: "391" in house.chat(house.nodes[2], "What is 17 times 23?")["text"],
        SETTLE_TIMEOUT_S,
    )


def leader(house: House, node: Node, system: str) -> str:
    """Address of the leader that a node knows; "" while there is none."""
    ask = house.nomad if system == "nomad" else house.consul
    return str(ask("/v1/status/leader", node)).rpartition(":")[0]


def term(house: House, node: Node, system: str) -> int:
    """The election that the servers' leader was chosen in; each new one has a higher number."""
    ask = house.nomad if system == "nomad" else house.consul
    return max(server["LastTerm"] for server in ask("/v1/operator/autopilot/health", node)["Servers"])


def at(house: House, address: str) -> Node:
    return next(node for node in house.nodes if node.address == address)


def left_behind(node: Node) -> list[str]:
    """Command lines of Nomad's tasks on a machine that no executor of Nomad's looks after any more."""
    looks = (
        "for p in /proc/[0-9]*; do"
        ' grep -qsz ^NOMAD_ALLOC_ID= "$p/environ" && grep -qs "^PPid:.1$" "$p/status" &&'
        ' tr "\\0" " " <"$p/cmdline" && echo; done; true'
    )
    lines = node.run("bash", "-c", looks).stdout.splitlines()
    return [line for line in lines if "/nomad " not in line]


def test_the_leaders_programs_are_killed_and_nobody_notices(house: House) -> None:
    session = house.chat(house.nodes[1], "What is 17 times 23?")["session_id"]
    for system in ("nomad", "consul"):
        killed = at(house, leader(house, house.nodes[0], system))
        bystander = next(node for node in house.nodes[:3] if node is not killed)
        before = term(house, bystander, system)
        killed.run("pkill", "-KILL", "-x", system)
        began_s = time.monotonic()
        assert "144" in house.chat(bystander, "What is 12 times 12?", session)["text"]
        wait_for(
            "a new leader",
            lambda seen=(bystander, system, before): term(house, *seen[:2]) > seen[2],  # type: ignore[misc]
            SETTLE_TIMEOUT_S,
        )
        say(f"  {system}'s leader killed: a new one within {time.monotonic() - began_s:.1f} s")
        wait_for(
            "the end of tasks whose executor was killed too: they would answer beside those that come",
            lambda node=killed: not left_behind(node),  # type: ignore[misc]
            SETTLE_TIMEOUT_S,
        )
    wait_for("the node", lambda: len(house.ready() & {node.name for node in house.nodes[:3]}) == 3, 60)


def test_the_leaders_machine_is_lost_and_the_next_sentence_is_answered(house: House) -> None:
    lost = at(house, leader(house, house.nodes[0], "nomad"))
    first, second = (node for node in house.nodes[:3] if node is not lost)
    session = house.chat(first, "What is 17 times 23?")["session_id"]

    lost.kill()
    began_s = time.monotonic()
    wait_for(
        "the answer",
        lambda: "144" in house.chat(second, "What is 12 times 12?", session, SENTENCE_TIMEOUT_S)["text"],
        SETTLE_TIMEOUT_S,
    )
    say(f"  leader's machine lost: the next sentence answered after {time.monotonic() - began_s:.1f} s")
    for system in ("nomad", "consul"):
        wait_for(
            f"{system}'s new leader",
            lambda system=system: leader(house, first, system) not in ("", lost.address),  # type: ignore[misc]
            SETTLE_TIMEOUT_S,
        )
    say(f"  new leaders known after {time.monotonic() - began_s:.1f} s")
    wait_for(
        "two workers on the machines that are left",
        lambda: len(house.places("pipecat-app", first) - {lost.name}) == 2,
        SETTLE_TIMEOUT_S,
    )
    say(f"  two workers again after {time.monotonic() - began_s:.1f} s")

    lost.start()
    # Its own front answers; what Consul tells may be what it knew before.
    wait_for(
        "the machine",
        lambda: "144" in house.chat(lost, "What is 12 times 12?", timeout_s=SENTENCE_TIMEOUT_S)["text"],
        SETTLE_TIMEOUT_S,
    )
    three = {node.name for node in house.nodes[:3]}
    # A lost server is taken out by the others, and has a vote again when it has been well for a while.
    wait_for("three votes", lambda: voters(house) == three, SETTLE_TIMEOUT_S)


def test_both_are_workers_again_and_keep_no_secret(house: House) -> None:
    names = [node.name for node in house.nodes[1:3]]
    house.play("playbooks/demote_controller.yaml", variables={"hostname": ",".join(names)}, log="demote")

    assert voters(house) == {house.nodes[0].name}
    for node in house.nodes[1:3]:
        assert not (node.root / "var/lib/twin-cluster").exists()
    assert house.play("playbook.yaml", log="after-demote").changes == []
