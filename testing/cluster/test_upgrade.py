"""Nomad and Consul are exchanged for another version node by node, while somebody asks again and again.

The tests go on from `test_house`, whose versions are the newest that can be had: one back, and forward.
"""

from __future__ import annotations

import threading

import pytest
import yaml

from testing.cluster.house import ROOT, House, say

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]

EVERY_S = 10.0
QUESTION, ANSWER = "What is 17 times 23?", "391"


def versions(name: str) -> list[str]:
    """The versions of a program that can be had, the wanted one first."""
    catalogue = yaml.safe_load((ROOT / "group_vars/artifacts.yaml").read_text(encoding="utf-8"))
    return [str(item["version"]) for item in catalogue["artifacts"] if item["name"] == name]


class Caller:
    """Somebody who asks every ten seconds, through one node after the other."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self.asked = 0
        self.failures: list[str] = []

    def __enter__(self) -> Caller:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._end.is_set():
            node = self._house.nodes[self.asked % len(self._house.nodes)]
            self.asked += 1
            try:
                text = self._house.chat(node, QUESTION)["text"]
                if ANSWER not in text:
                    self.failures.append(f"{node.name}: {text}")
            except (AssertionError, OSError) as exc:
                self.failures.append(f"{node.name}: {exc}")
            self._end.wait(EVERY_S)


@pytest.mark.parametrize("name", ["nomad", "consul"])
def test_another_version_comes_while_people_talk(house: House, name: str) -> None:
    newest, older = versions(name)[:2]
    for version in (older, newest):
        with Caller(house) as caller:
            wanted = {"upgrade_component": name, "upgrade_version": version}
            house.play("playbooks/upgrade.yaml", log=f"upgrade-{name}-{version}", variables=wanted)
        say(f"  {name} {version}: {caller.asked} questions, {len(caller.failures)} failed")
        assert caller.failures == []
        for node in house.nodes:
            assert version in node.run(f"/usr/local/bin/{name}", "version").stdout
