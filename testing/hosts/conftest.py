"""The machines that a newcomer has, one kind after the other, each with a clone of this checkout.

It owns their beginning and end; what is made of them, the test modules say.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.hosts.cluster import warm_caches
from testing.hosts.machines import Machine
from testing.hosts.network import Network

ROOT = Path(__file__).resolve().parents[2]
NEWCOMERS = ("bookworm", "trixie")
"""Debian 12 without systemd, and Debian 13 with it."""


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """The bridge that the machines are on."""
    bridge = Network()
    yield bridge
    bridge.close()


@pytest.fixture(scope="module", params=NEWCOMERS)
def newcomer(request: pytest.FixtureRequest, network: Network) -> Iterator[Machine]:
    """A fresh machine with a clone in root's home, and nothing of Twin on it."""
    lent = {"/srv/checkout": ROOT}
    if os.environ.get("TWIN_HOSTS_WARM"):
        lent |= warm_caches(request.param)
    with Machine(request.param, network, lent) as fresh:
        fresh.run("git", "clone", "--quiet", "/srv/checkout", "/root/twin")
        yield fresh
