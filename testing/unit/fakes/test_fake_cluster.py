"""The fake scheduler passes the port's suite."""

from __future__ import annotations

import pytest

from testing.conformance.cluster_suite import ClusterSuite
from testing.fakes.fake_cluster import FakeCluster

pytestmark = pytest.mark.unit


class TestFakeCluster(ClusterSuite):
    @pytest.fixture
    def cluster(self) -> FakeCluster:
        return FakeCluster()
