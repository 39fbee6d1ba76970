"""Nomad and Consul are exchanged for another version node by node, while somebody asks again and again.

The tests go on from `test_house`, whose versions are one before the newest that can be had.
"""

from __future__ import annotations

import threading

import pytest

from testing.cluster.house import House, say, versions, will_not_start

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]

EVERY_S = 10.0
QUESTION, ANSWER = "What is 17 times 23?", "391"


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


def test_a_version_that_does_not_start_is_taken_back(house: House) -> None:
    newest, old = versions("consul")[0], house.chosen["consul"]
    first = house.nodes[0]
    must = f"! /usr/local/bin/consul version | grep -q v{newest}"
    with will_not_start(first, "consul", must):
        wanted = {"upgrade_component": "consul", "upgrade_version": newest}
        log = "upgrade-taken-back"
        played = house.play("playbooks/upgrade.yaml", log=log, variables=wanted, must_pass=False)

    assert played.status != 0
    assert f"consul {newest} did not become well on {first.name}" in played.output
    for node in house.nodes:
        assert old in node.run("/usr/local/bin/consul", "version").stdout
    assert house.consul("/v1/status/leader")
    assert ANSWER in house.chat(first, QUESTION)["text"]


@pytest.mark.parametrize("name", ["consul", "nomad"])
def test_a_newer_version_comes_while_people_talk(house: House, name: str) -> None:
    newest = versions(name)[0]
    for node in house.nodes:
        assert house.chosen[name] in node.run(f"/usr/local/bin/{name}", "version").stdout

    with Caller(house) as caller:
        wanted = {"upgrade_component": name, "upgrade_version": newest}
        house.play("playbooks/upgrade.yaml", log=f"upgrade-{name}", variables=wanted)
    say(f"  {name} {newest}: {caller.asked} questions, {len(caller.failures)} failed")

    house.chosen[name] = newest
    assert caller.asked > 0
    assert caller.failures == []
    for node in house.nodes:
        assert newest in node.run(f"/usr/local/bin/{name}", "version").stdout
