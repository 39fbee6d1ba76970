"""The house that the tests of a cluster share: brought up once, by the playbook itself.

It owns the fixture only.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testing.cluster.house import House
from testing.hosts.cluster import Cluster, warm_caches


@pytest.fixture(scope="session")
def house() -> Iterator[House]:
    """Three fresh machines with ssh, one of them to be the controller."""
    with Cluster(3, lent=warm_caches()) as cluster:
        yield House(cluster)
