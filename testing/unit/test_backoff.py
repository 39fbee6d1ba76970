"""Pauses between tries."""

from __future__ import annotations

import pytest

from pipecatapp.backoff import backoff_s

pytestmark = pytest.mark.unit


def test_each_failure_doubles_the_pause_up_to_a_bound() -> None:
    assert [backoff_s(failures, first_s=0.5, last_s=3.0) for failures in range(1, 6)] == [0.5, 1, 2, 3, 3]


def test_chance_takes_up_to_half_off() -> None:
    assert [backoff_s(2, first_s=1, last_s=9, chance=chance) for chance in (0.0, 0.5, 1.0)] == [1, 1.5, 2]


def test_endless_failures_do_not_overflow() -> None:
    assert backoff_s(1_000_000, first_s=0.5, last_s=10.0) == 10.0
