"""The ledger of the slow suites: what it keeps, and when a suite is out of date."""

from __future__ import annotations

from pathlib import Path

import pytest

from testing.run.ledger import Ledger, table
from testing.run.suites import Suite, digest, read

pytestmark = pytest.mark.unit

LEDGERS_OWN = Suite("e2e", "full", "real engines", ("testing/run/ledger.py",))


def test_a_line_is_written_beside_the_others_and_read_again(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.yaml")
    assert ledger.lines() == {}

    ledger.write("hosts", "aa", 61.6, 14)
    ledger.write("e2e", "bb", 100.2, 7)
    ledger.write("hosts", "cc", 59.0, 15)

    lines = ledger.lines()
    assert list(lines) == ["e2e", "hosts"]
    assert (lines["hosts"].inputs, lines["hosts"].took_s, lines["hosts"].tests) == ("cc", 59, 15)


def test_a_suite_is_up_to_date_only_with_the_inputs_that_it_passed_with(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.yaml")
    assert not ledger.is_up_to_date(LEDGERS_OWN)

    ledger.write("e2e", digest(LEDGERS_OWN), 1, 1)
    assert ledger.is_up_to_date(LEDGERS_OWN)
    assert "up to date" in table([LEDGERS_OWN], ledger)

    ledger.write("e2e", "0" * 16, 1, 1)
    assert not ledger.is_up_to_date(LEDGERS_OWN)
    assert "out of date" in table([LEDGERS_OWN], ledger)


def test_a_suite_that_never_passed_is_told(tmp_path: Path) -> None:
    assert "e2e" in table([LEDGERS_OWN], Ledger(tmp_path / "ledger.yaml"))
    assert "never passed" in table([LEDGERS_OWN], Ledger(tmp_path / "ledger.yaml"))


def test_a_damaged_ledger_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "ledger.yaml"
    path.write_text("e2e: {inputs: aa, day: monday}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="damaged.*take the committed one back"):
        Ledger(path).lines()


def test_the_committed_ledger_names_suites_of_full() -> None:
    known = {suite.name for suite in read().of("full")}
    assert set(Ledger().lines()) <= known
