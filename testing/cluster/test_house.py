"""Three fresh machines become a cluster, and the conversation is held through each of them.

The tests go on from one another, in order, on one house.
"""

from __future__ import annotations

import re

import pytest

from testing.cluster.house import WITH_TOKEN, House, say, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]

AGENT_TIMEOUT_S = 120.0


def test_three_fresh_machines_become_a_cluster(house: House) -> None:
    played = house.play("playbook.yaml", log="first")

    assert {numbers["failed"] for numbers in played.counts.values()} == {0}
    for phase, seconds in re.findall(
        r"^\[ ?[\d:]+\] (?:==|--) (.+?): ([\d.]+) s$", played.output, re.MULTILINE
    ):
        say(f"  {phase}: {seconds} s")
    nodes = house.nomad("/v1/nodes")
    assert {node["Status"] for node in nodes} == {"ready"}
    assert {node["Name"] for node in nodes} == {node.name for node in house.nodes}
    assert len(house.places("ingress")) == 3
    assert len(house.places("pipecat-app")) == 2
    assert len(house.places("memory-service")) == 1


def test_the_conversation_is_held_through_every_node(house: House) -> None:
    for node in house.nodes:
        conversation = house.speak(node, "tool-product", "know-france")
        assert "391" in conversation, node.name
        assert "Paris" in conversation, node.name


def test_what_is_told_through_one_node_is_known_through_the_others(house: House) -> None:
    house.chat(house.nodes[0], "Please remember that my dog is called Biscuit.")
    for node in house.nodes[1:]:
        answer = wait_for(
            "the dog's name",
            lambda node=node: house.chat(node, "What is my dog called?")["text"],  # type: ignore[misc]
            AGENT_TIMEOUT_S,
        )
        assert "Biscuit" in answer, node.name


def test_a_conversation_goes_on_through_another_node(house: House) -> None:
    first, second = house.nodes[1:]
    session = house.chat(first, "What is 17 times 23?")["session_id"]
    again = house.chat(second, "What is 12 times 12?", session)
    assert again["session_id"] == session
    assert "144" in again["text"]


def test_a_second_run_changes_nothing(house: House) -> None:
    played = house.play("playbook.yaml", log="again")
    assert played.changes == []


def test_check_mode_foresees_no_change(house: House) -> None:
    played = house.play("playbook.yaml", "--check", log="check")
    assert played.changes == []


def test_healing_what_is_well_changes_nothing(house: House) -> None:
    assert house.play("heal_cluster.yaml", log="heal").changes == []


def test_healing_brings_back_a_job_that_was_stopped(house: House) -> None:
    house.nodes[0].run("bash", "-c", f"{WITH_TOKEN}; nomad job stop -detach pipecat-app")
    wait_for("the end of the workers", lambda: not house.places("pipecat-app"), AGENT_TIMEOUT_S)

    played = house.play("playbooks/heal_cluster.yaml", log="heal-again")

    assert played.changed > 0
    assert "391" in house.chat(house.nodes[2], "What is 17 times 23?")["text"]


def test_the_health_check_asks_the_expert_and_tells(house: House) -> None:
    played = house.play("playbooks/run_health_check.yaml", log="health-check")
    assert "main" in played.output
    assert "BAD" not in played.output
