"""The fake memory keeps what every memory store promises."""

from __future__ import annotations

import pytest

from testing.conformance.memory_suite import MemorySuite
from testing.fakes.fake_memory import FakeMemory

pytestmark = pytest.mark.unit


class TestFakeMemory(MemorySuite):
    @pytest.fixture
    def memory(self) -> FakeMemory:
        return FakeMemory()
