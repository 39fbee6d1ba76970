"""The disks of a finished cluster of three controllers: made by `playbook.yaml`, named by what made them.

It owns the folder of those disks and their network, which their addresses are on; what must hold once they
are booted again, the tests say. Below the three lies one layer with the software, which stays as it is when
only the agent's code changes: the playbook brings that up to date.

Usage: python -m testing.cluster.disks
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from testing.cluster.house import House, wait_for
from testing.hosts.cluster import ROOT, Cluster, built_programs, warm_caches
from testing.hosts.images import hosts_folder
from testing.hosts.network import FREE_NUMBERS
from testing.molecule.layers import SOURCES, fingerprint, forget_old, locked

NUMBER = FREE_NUMBERS
"""The network of these disks."""
COUNT = 3
KEPT = 2
"""Sets of disks that are kept, some 4 GB each."""
WELL_TIMEOUT_S = 180.0
LOG = ROOT / "build" / "cluster" / "disks.log"
SOFTWARE_LOG = LOG.with_name("disks-software.log")


def packed() -> list[str]:
    """All that the playbook packs and puts on machines, and what it is: files and folders of the checkout."""
    roles = ROOT / "ansible" / "roles"
    found = set(SOURCES)
    for role, name in (("software", "software_paths"), ("join", "join_paths")):
        defaults = yaml.safe_load((roles / role / "defaults" / "main.yaml").read_text(encoding="utf-8"))
        found.update(defaults[name])
    return sorted(found)


def boot(layers: list[Path], disks: list[Path]) -> Cluster:
    """Three controllers with these layers, and disks of their own, or empty ones when there is none."""
    return Cluster(
        COUNT,
        NUMBER,
        controllers=COUNT,
        lent=warm_caches("disks"),
        first_lent=built_programs(),
        layers=layers,
        disks=disks,
    )


def wait_until_well(house: House) -> None:
    """Wait until the three are as `playbook.yaml` left them: ready, a front each, two agents, one memory.

    Raises:
        AssertionError: They did not become so in time.
    """
    for node in house.nodes:
        # Its own front: Consul still knows what passed before the machines were switched off.
        ask = house.cluster.outside("curl", "-sfm", "5", f"http://{node.address}:8000/health")
        wait_for(
            f"the front of {node.name}",
            lambda ask=ask: subprocess.run(ask, check=False, capture_output=True).returncode == 0,  # type: ignore[misc]
            WELL_TIMEOUT_S,
        )
    names = {node.name for node in house.nodes}
    wait_for("three ready nodes", lambda: house.ready() == names, WELL_TIMEOUT_S)
    for service, count in (("ingress", 3), ("pipecat-app", 2), ("memory-service", 1)):
        wait_for(
            f"{count} of {service}",
            lambda service=service, count=count: len(house.places(service)) == count,  # type: ignore[misc]
            WELL_TIMEOUT_S,
        )


def ensure_software() -> Path:
    """Make the layer with the software when it is missing; return its folder.

    Raises:
        RuntimeError: The playbook failed; with the end of its output.
    """
    sources = [source for source in SOURCES if source != "pipecatapp"]
    home = hosts_folder() / "disks" / fingerprint(NUMBER, sources)
    layer = home / "software"
    with locked(home):
        if not layer.exists():
            forget_old(home, KEPT)
            with Cluster(1, NUMBER, lent=warm_caches("disks")) as cluster:
                cluster.playbook(
                    "playbooks/software.yaml", variables={"twin_mode": "cluster"}, log=SOFTWARE_LOG
                )
                cluster.hosts[0].save(layer)
        home.touch()
    return layer


def ensure_disks() -> tuple[Path, list[Path]]:
    """Make the disks when they are missing; return the layer below them, and one folder for each machine.

    Raises:
        RuntimeError: A playbook failed; with the end of its output.
    """
    began_s = time.monotonic()
    software = ensure_software()
    # Disks go with the layer that they were made on: another one has other files, whatever made it.
    home = software.with_name("sets") / fingerprint(NUMBER, packed(), {"__pycache__"})
    done = home / "complete"
    disks = [home / str(place) for place in range(COUNT)]
    with locked(home):
        if not done.exists():
            forget_old(home, KEPT)
            with boot([software], []) as cluster:
                cluster.playbook("playbook.yaml", log=LOG)
                wait_until_well(House(cluster))
                for node, disk in zip(cluster.hosts, disks, strict=True):
                    shutil.rmtree(disk, ignore_errors=True)
                    node.save(disk)
            done.touch()
            sys.stdout.write(f"made the disks of a cluster in {time.monotonic() - began_s:.0f} s\n")
        home.touch()
    return software, disks


@contextmanager
def alone() -> Iterator[None]:
    """Keep the network of these disks to ourselves: other checkouts have disks on it too."""
    file = hosts_folder() / "disks.lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def finished_house() -> Iterator[House]:
    """A cluster that was finished before and has just been switched on again, all of it at once."""
    with alone():
        software, disks = ensure_disks()
        with boot([software], disks) as cluster:
            yield House(cluster)


if __name__ == "__main__":
    with alone():
        ensure_disks()
