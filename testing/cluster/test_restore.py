"""The house is saved, every machine is lost, and fresh ones have the memory and the settings back; then the
first controller is lost for good, and another one takes its place.

It ends the house that the other tests share.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.cluster.house import House, say, wait_for
from testing.hosts.cluster import Cluster, built_programs, warm_caches

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]

WAIT_S = 120.0
GREETING = "Good evening, house."


@pytest.fixture(scope="module")
def fresh() -> Iterator[House]:
    """Three new machines."""
    with Cluster(3, lent=warm_caches(), first_lent=built_programs()) as cluster:
        yield House(cluster)


def test_a_burnt_house_is_restored_on_fresh_machines(
    house: House, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    house.chat(house.nodes[0], "Please remember that my boat is called Albatross.")
    wait_for("the fact", lambda: any("Albatross" in fact for fact in house.facts(house.nodes[1])), WAIT_S)
    before = house.facts(house.nodes[1])
    settings = {"pipecatapp_settings": {"TWIN_GREETING": GREETING}}
    house.play("playbooks/backup.yaml", variables={"backup_folder": str(tmp_path)} | settings)
    [archive] = tmp_path.glob("twin-*.tar.gz")
    assert archive.stat().st_mode & 0o077 == 0
    for node in house.nodes:
        node.kill()

    restored: House = request.getfixturevalue("fresh")
    restored.play("playbooks/restore.yaml", variables={"backup_archive": str(archive)})
    assert restored.facts(restored.nodes[2]) == before
    say(f"  restored: {restored.chat(restored.nodes[2], 'What is my boat called?')['text']}")
    job = restored.nomad("/v1/job/pipecat-app")
    assert GREETING in unpacked(str(job))


def test_a_first_controller_that_is_lost_for_good_is_replaced_by_another(fresh: House) -> None:
    lost, second, third = fresh.nodes
    names = f"{second.name},{third.name}"
    fresh.play("playbooks/promote_controller.yaml", variables={"hostname": names}, log="promote-restored")
    before = fresh.facts(third)
    lost.kill()

    gone = {"hostname": lost.name, "gone": "true", "allow_even": "true"}
    played = fresh.play("playbooks/remove_node.yaml", variables=gone, log="remove-first")
    assert f"{second.name} is the first controller now. Run playbook.yaml" in played.output
    assert lost.name not in fresh.cluster.inventory.read_text(encoding="utf-8")
    assert lost.name not in {node["Name"] for node in fresh.nomad("/v1/nodes", second)}

    fresh.play("playbook.yaml", variables={"allow_even": "true"}, log="takes-over")
    assert fresh.facts(third) == before
    assert "391" in fresh.chat(third, "What is 17 times 23?")["text"]
    assert second.run("twin-join", "token", "create", "--ttl", "5m").stdout.strip()
    assert fresh.play("playbooks/heal_cluster.yaml", variables={"allow_even": "true"}).status == 0


def unpacked(text: str) -> str:
    """The settings in a job's text, which are packed in base 64."""
    found = re.findall(r"[A-Za-z0-9+/]{40,}={0,2}", text)
    return " ".join(base64.b64decode(item).decode("utf-8", "replace") for item in found if len(item) % 4 == 0)
