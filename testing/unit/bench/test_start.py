"""What the table of start times counts and shows."""

from __future__ import annotations

import pytest

from testing.bench.start import BARE, commands, show, summary

pytestmark = pytest.mark.unit

TAKEN = {BARE: [0.02, 0.04, 0.03], "twin --help": [0.12, 0.09, 0.10], "twin status": [0.5, 0.3, 0.4]}


def test_a_command_is_told_as_a_multiple_of_a_bare_python() -> None:
    found = summary(TAKEN)
    assert found[BARE]["best_ratio"] == found[BARE]["median_ratio"] == 1
    assert found["twin --help"] == pytest.approx(
        {"best_s": 0.09, "median_s": 0.10, "best_ratio": 4.5, "median_ratio": 0.10 / 0.03}
    )


def test_the_table_says_whether_the_aim_is_met() -> None:
    shown = show(summary(TAKEN)).splitlines()
    assert shown[3] == "| twin --help | 0.090 | 0.100 | 4.5 | 3.3 |"
    assert shown[-2:] == ["aim: twin --help within 0.3 s: True", "aim: twin status within 0.3 s: False"]


def test_what_is_compared_with_is_among_what_is_started() -> None:
    assert BARE in commands("http://127.0.0.1:1")
