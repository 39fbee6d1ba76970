"""What a run tells at its end: the numbers of tests, the table, the budget and the closing line."""

from __future__ import annotations

from pathlib import Path

import pytest

from testing.run.report import BUSY_FROM, COLD_S, WARM_S, Outcome, budget, closing, count, covered, table

pytestmark = pytest.mark.unit

JUNIT = '<testsuites><testsuite name="x" tests="12" failures="2" errors="1"/></testsuites>'


@pytest.mark.parametrize(
    ("log", "tests"),
    [
        ("ok 1 a\n1..58\n", 58),
        ("1..7\nok 1\n", 7),
        ("ℹ tests 45\nℹ pass 45\n", 45),
        ("# tests 45\n# pass 45\n", 45),
        ("ok    2 of 2 scenarios    61.0 s\n", 2),
        ("nothing that counts", 0),
    ],
)
def test_tests_are_counted_in_each_runners_log(tmp_path: Path, log: str, tests: int) -> None:
    assert count(tmp_path / "none.xml", log) == (tests, 0)


def test_a_junit_report_counts_before_the_log(tmp_path: Path) -> None:
    report = tmp_path / "unit.xml"
    report.write_text(JUNIT, encoding="utf-8")
    assert count(report, "1..58") == (12, 3)


def test_what_was_covered_is_a_number_or_nothing(tmp_path: Path) -> None:
    report = tmp_path / "coverage.json"
    assert covered(report) == ""
    summary = '{"summary": {"covered_lines": 813, "missing_lines": 187, "percent_covered": 81.26}}'
    report.write_text(summary, encoding="utf-8")
    assert covered(report) == "81.3% of 1000 lines of pipecatapp, by the unit tests"


def test_the_table_has_a_row_for_each_suite_and_what_was_made_and_names_what_failed() -> None:
    text = table(
        [Outcome("unit", 30, 1500), Outcome("e2e", 60, 9, 2), Outcome("images", 10, is_suite=False)], 100
    )

    rows = {line.split()[0]: line.split() for line in text.splitlines()}
    assert rows["unit"][1:4] == ["1500", "30", "30%"]
    assert rows["e2e"][-2:] == ["FAILED:", "2"]
    assert rows["(images)"][1:4] == ["-", "10", "10%"]
    assert rows["whole"][1:] == ["1509", "100"]


@pytest.mark.parametrize(
    ("whole_s", "made_s", "others", "is_within"),
    [
        (WARM_S, 0, 0.0, True),
        (WARM_S * 1.25, 0, 0.0, True),
        (WARM_S * 1.26, 0, 0.0, False),
        (WARM_S * 1.26, 0, BUSY_FROM + 0.01, True),
        (WARM_S * 1.26, 600, 0.0, True),
        (COLD_S * 1.26, 600, 0.0, False),
    ],
)
def test_the_budget_fails_a_run_that_is_a_quarter_over_it_on_a_quiet_machine(
    whole_s: float, made_s: float, others: float, is_within: bool
) -> None:
    outcomes = [Outcome("unit", 30, 1500), Outcome("binaries", made_s, is_suite=False)]
    found, said = budget(outcomes, whole_s, others)
    assert found is is_within
    assert f"{others:.0%} of the cores" in said


def test_the_closing_line_counts_what_passed_and_what_failed() -> None:
    assert closing([Outcome("unit", 1, 10), Outcome("e2e", 1, 5, 2)]) == "13 passed, 2 failed"
    assert closing([Outcome("binaries", 1, 0, 1, is_suite=False)]) == "0 passed, 1 failed"
