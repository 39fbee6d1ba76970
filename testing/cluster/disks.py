"""The disks of a finished cluster of three controllers: made by `playbook.yaml`, named by what made them.

It owns the folder of those disks and their network, which their addresses are on; what must hold once they
are booted again, the tests say.

Usage: python -m testing.cluster.disks
"""

from __future__ import annotations

import fcntl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testing.cluster.house import House, wait_for
from testing.hosts.cluster import ROOT, Cluster, built_programs, warm_caches
from testing.hosts.images import hosts_folder
from testing.hosts.network import FREE_NUMBERS
from testing.molecule.layers import fingerprint, forget_old, locked

NUMBER = FREE_NUMBERS
"""The network of these disks."""
COUNT = 3
KEPT = 2
"""Sets of disks that are kept, some 4 GB each."""
WELL_TIMEOUT_S = 180.0
LOG = ROOT / "build" / "cluster" / "disks.log"


def folder() -> Path:
    """Where the disks of this checkout's code are, whether or not they have been made."""
    return hosts_folder() / "disks" / fingerprint(NUMBER)


def boot(disks: list[Path]) -> Cluster:
    """Three controllers with these disks, or with empty ones when there is none."""
    return Cluster(
        COUNT, NUMBER, controllers=COUNT, lent=warm_caches("disks"), first_lent=built_programs(), disks=disks
    )


def wait_until_well(house: House) -> None:
    """Wait until the three are as `playbook.yaml` left them: ready, a front each, two agents, one memory.

    Raises:
        AssertionError: They did not become so in time.
    """
    names = {node.name for node in house.nodes}
    wait_for("three ready nodes", lambda: house.ready() == names, WELL_TIMEOUT_S)
    for service, count in (("ingress", 3), ("pipecat-app", 2), ("memory-service", 1)):
        wait_for(
            f"{count} of {service}",
            lambda service=service, count=count: len(house.places(service)) == count,  # type: ignore[misc]
            WELL_TIMEOUT_S,
        )


def ensure_disks() -> list[Path]:
    """Make the disks when they are missing; return one folder for each machine.

    Raises:
        RuntimeError: The playbook failed; with the end of its output.
    """
    home = folder()
    done = home / "complete"
    disks = [home / str(place) for place in range(COUNT)]
    with alone(), locked(home):
        if not done.exists():
            forget_old(home, KEPT)
            began_s = time.monotonic()
            with boot([]) as cluster:
                cluster.playbook("playbook.yaml", log=LOG)
                wait_until_well(House(cluster))
                for node, disk in zip(cluster.hosts, disks, strict=True):
                    node.save(disk)
            done.touch()
            sys.stdout.write(f"made the disks of a cluster in {time.monotonic() - began_s:.0f} s\n")
        home.touch()
    return disks


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
    disks = ensure_disks()
    with alone(), boot(disks) as cluster:
        yield House(cluster)


if __name__ == "__main__":
    ensure_disks()
