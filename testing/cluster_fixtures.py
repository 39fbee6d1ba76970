"""Pytest fixtures: one real Consul and one real Nomad a test module.

It owns their life only; import the fixture that a module needs. Each agent listens on the loopback alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testing.cluster_agents import ConsulAgent, NomadAgent


@pytest.fixture(scope="module")
def consul_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsulAgent]:
    """A Consul server with a leader; the tests of a module share it."""
    with ConsulAgent(tmp_path_factory.mktemp("consul")) as agent:
        yield agent.start()


@pytest.fixture(scope="module")
def nomad_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NomadAgent]:
    """A Nomad server and client without Consul; the tests of a module share it."""
    with NomadAgent(tmp_path_factory.mktemp("nomad")) as agent:
        yield agent.start()
