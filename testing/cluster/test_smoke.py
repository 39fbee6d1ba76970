"""The short look at a cluster: finished machines are switched on, talked to, set up again, and lose a leader.

The tests go on from one another, in order. How a cluster comes about, and all that can go wrong, is the other
modules' business.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from testing.cluster.disks import finished_house, wait_until_well
from testing.cluster.house import House, say, wait_for
from testing.hosts.cluster import Node

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

RECOVERY_TIMEOUT_S = 120.0
SENTENCE_TIMEOUT_S = 15.0


@pytest.fixture(scope="module")
def finished() -> Iterator[House]:
    """Three controllers, switched on."""
    with finished_house() as house:
        yield house


def leader(house: House, program: str, node: Node) -> str:
    """The machine that leads Consul's or Nomad's servers, as a node says; "" while there is none."""
    ask = house.consul if program == "consul" else house.nomad
    address = str(ask("/v1/status/leader", node)).rsplit(":", 1)[0]
    return next((one.name for one in house.nodes if one.address == address), "")


def test_a_cluster_that_is_switched_on_is_well_again(finished: House) -> None:
    began_s = time.monotonic()
    wait_until_well(finished)
    say(f"  well {time.monotonic() - began_s:.0f} s after it was switched on")


def test_the_conversation_is_held_by_voice_through_every_node(finished: House) -> None:
    for node, recording, words in zip(
        finished.nodes, ("tool-product", "know-france", "tool-sum"), ("391", "Paris", "375"), strict=True
    ):
        assert words in finished.speak(node, recording), node.name


def test_a_second_run_changes_nothing(finished: House) -> None:
    assert finished.play("playbook.yaml", log="smoke-again").changes == []


def test_the_leaders_machine_is_lost_and_the_next_sentence_is_answered(finished: House) -> None:
    first = leader(finished, "consul", finished.nodes[0])
    lost = finished.node_named(first)
    others = [node for node in finished.nodes if node is not lost]

    lost.kill()

    began_s = time.monotonic()
    wait_for(
        "the next sentence",
        lambda: (
            "391" in finished.chat(others[0], "What is 17 times 23?", timeout_s=SENTENCE_TIMEOUT_S)["text"]
        ),
        RECOVERY_TIMEOUT_S,
    )
    say(f"  leader's machine lost: next sentence answered after {time.monotonic() - began_s:.1f} s")
    for program in ("consul", "nomad"):
        wait_for(
            f"another leader of {program}",
            lambda program=program: leader(finished, program, others[0]) not in ("", first),  # type: ignore[misc]
            RECOVERY_TIMEOUT_S,
        )
    wait_for("memory", lambda: finished.places("memory-service", others[0]) - {first}, RECOVERY_TIMEOUT_S)
    finished.chat(others[1], "Please remember that my goose is called Martin.")
    wait_for(
        "the fact",
        lambda: any("Martin" in fact for fact in finished.facts(others[0])),
        RECOVERY_TIMEOUT_S,
    )
