"""What the end-to-end tests share: the agent under test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from testing.e2e.service import Service


@pytest.fixture(scope="session")
def own_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A real agent of our own that greets nobody, with an empty memory; many tests share it."""
    service = Service(tmp_path_factory.mktemp("agent"), {"TWIN_GREETING": ""}).start()
    yield service
    service.stop()


@pytest.fixture
def base_url(request: pytest.FixtureRequest) -> str:
    """Where the agent is: TWIN_URL, such as the bootstrapped one, or one of our own."""
    given = os.environ.get("TWIN_URL", "")
    return given or request.getfixturevalue("own_service").base_url
