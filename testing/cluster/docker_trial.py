"""A cluster that runs the agent in containers, tried by hand: two machines, an image, a chat.

It is no part of the tests that run by themselves: making the image and passing it on take minutes, and each
machine needs a folder of its own for the engine. It prints what it measured.

Usage: python -m testing.cluster.docker_trial
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from testing.cluster.house import House, say, wait_for
from testing.cluster_agents import cluster_binary
from testing.hosts.cluster import Cluster, Node, warm_caches
from testing.hosts.images import hosts_folder

DRIVER = {"pipecatapp_driver": "docker"}
AGENT_TIMEOUT_S = 180.0
CONTAINERS = ("docker", "ps", "--format", "{{.Names}} {{.Image}}")
LIMITS = "{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.NetworkMode}}"


class DockerCluster(Cluster):
    """A cluster whose machines have a plain folder for the engine: an overlay cannot lie on an overlay."""

    def add_host(self, without: Sequence[str] = ()) -> Node:
        """Boot one more machine, with its own folder for images and with Consul and Nomad on its PATH."""
        self._lent["+/var/lib/docker"] = Path(tempfile.mkdtemp(prefix="docker-", dir=hosts_folder()))
        node = super().add_host(without)
        for name in ("consul", "nomad"):
            shutil.copy(cluster_binary(name), node.root / "usr/local/bin" / name)
        return node

    def close(self) -> None:
        """Stop and remove all of it, images too."""
        super().close()
        for folder in hosts_folder().glob("docker-*"):
            shutil.rmtree(folder, ignore_errors=True)


def agents_on(node: Node) -> list[str]:
    """The names of the agent's containers on a machine."""
    lines = node.run(*CONTAINERS).stdout.splitlines()
    return [line.split()[0] for line in lines if line.startswith("agent-") and " twin-agent:" in line]


def answer(house: House, node: Node) -> str:
    """What the house answers to a sum, asked through a machine."""
    return str(house.chat(node, "What is 17 times 23?")["text"])


def try_out(house: House) -> None:
    """Bring the house up in containers, talk to it, kill a container, run the playbook again.

    Raises:
        AssertionError: Something is not as it should be.
    """
    played = house.play("playbook.yaml", log="docker-first", variables=DRIVER)
    for line in played.output.splitlines():
        if "image" in line or "base" in line:
            say(line)
    for node in house.nodes:
        say(node.run("docker", "image", "ls").stdout)
        assert len(agents_on(node)) == 1, node.name
        limits = node.run("docker", "inspect", "--format", LIMITS, *agents_on(node)).stdout.strip()
        assert limits == "pipecatapp true [ALL] host", limits
        assert "391" in answer(house, node), node.name
        tables = node.run("nft", "list", "tables").stdout.split("\n")
        assert "table inet twin" in tables and "table ip nat" not in tables, tables

    lost = house.nodes[1]
    container = agents_on(lost)
    lost.run("docker", "kill", *container)
    wait_for("another container", lambda: agents_on(lost) not in ([], container), AGENT_TIMEOUT_S)
    wait_for("both agents", lambda: len(house.places("pipecat-app")) == 2, AGENT_TIMEOUT_S)
    assert "391" in answer(house, lost)

    # What is in containers stays there without being told so again.
    again = house.play("playbook.yaml", log="docker-again")
    assert again.changes == []


def main() -> None:
    """Boot, try, clean up."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else None
    with DockerCluster(2, number=number, lent=warm_caches()) as cluster:
        try_out(House(cluster))
    say("The agent runs in containers.")


if __name__ == "__main__":
    main()
