"""The house that the tests of a cluster share: brought up once, by the playbook itself.

It owns the fixture, and the order of the tests: they go on from one another, and the last ones end the house.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.cluster.house import House, versions
from testing.hosts.cluster import Cluster, built_programs, warm_caches

HERE = Path(__file__).parent
ORDER = (
    "test_mirror",
    "test_ways",
    "test_faults",
    "test_house",
    "test_plan",
    "test_experts",
    "test_upgrade",
    "test_loss",
    "test_security",
    "test_membership",
    "test_restore",
)
"""Modules, from the first machine to the fire; what can be lost is lost with the newest versions."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put this folder's tests into their order; a module that is not named comes last."""

    def place(item: pytest.Item) -> int:
        return ORDER.index(item.path.stem) if item.path.stem in ORDER else len(ORDER)

    mine = sorted((item for item in items if item.path.parent == HERE), key=place)
    items[:] = [item for item in items if item.path.parent != HERE] + mine


@pytest.fixture(scope="session")
def house() -> Iterator[House]:
    """Three fresh machines with ssh, one of them to be the controller; their programs are one version old."""
    with Cluster(3, lent=warm_caches(), first_lent=built_programs()) as cluster:
        yield House(cluster, {name: versions(name)[1] for name in ("consul", "nomad")})
