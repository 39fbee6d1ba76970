"""The router's benchmark counts truly."""

from __future__ import annotations

import pytest

from testing.bench.router import Choice, summary

pytestmark = pytest.mark.unit


def test_a_request_counts_once_and_its_time_each_time() -> None:
    right, wrong = Choice("a", "math", "math", "", 0.5, 1.0), Choice("b", "math", "main", "", 0.2, 3.0)
    other = Choice("c", "main", "main", "", 0.4, 2.0)
    found = summary([right, wrong, other, right, wrong, other])
    assert (found["requests"], found["accuracy"]) == (3, pytest.approx(2 / 3))
    assert found["confusion"] == {"math": {"math": 1, "main": 1}, "main": {"main": 1}}
    assert found["accuracy_of"] == {"math": 0.5, "main": 1.0}
    assert found["wrong"] == [("b", "math", "main")]
    assert (found["p50_ms"], found["p99_ms"] > 2.9) == (2.0, True)
