"""What a run of suites tells at its end: a table, the budget, what was covered, how many tests failed.

It owns counting tests in a suite's report or log, and the budget; running is `schedule`'s.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

WARM_S = 30 * 60
"""Budget of the base set on two cores where everything it needs has been made before (seconds)."""
COLD_S = 60 * 60
"""The same on a machine that has nothing yet (seconds)."""
GRACE = 1.25
"""By how much a run may pass its budget before it fails."""
COLD_FROM_S = 120.0
"""A run that made things for longer than this was a cold one (seconds)."""
BUSY_FROM = 0.15
"""A machine of whose cores others take more than this share is busy with something else."""
COUNTS = (
    re.compile(r"^# tests (\d+)$", re.MULTILINE),
    re.compile(r"^ℹ tests (\d+)$", re.MULTILINE),
    re.compile(r"^1\.\.(\d+)$", re.MULTILINE),
    re.compile(r"(\d+) of \d+ scenarios"),
)
"""How node's runner, bats and the scenarios tell their number."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one step of a run ended.

    Args:
        name: The suite, or what was made.
        took_s: How long it took (seconds).
        tests: How many tests it had; 0 for what was made.
        failed: How many of them failed; at least 1 when it failed.
        is_suite: Whether it was a suite.
    """

    name: str
    took_s: float
    tests: int = 0
    failed: int = 0
    is_suite: bool = True


def count(report: Path, log: str) -> tuple[int, int]:
    """Return how many tests a suite had, and how many failed, from its JUnit report, else from its log.

    Args:
        report: Where the report is, if there is one.
        log: What the suite printed.
    """
    if report.is_file():
        suites = ET.parse(report).getroot().iter("testsuite")
        numbers = [
            (int(suite.get("tests", 0)), int(suite.get("failures", 0)) + int(suite.get("errors", 0)))
            for suite in suites
        ]
        return sum(tests for tests, _ in numbers), sum(failed for _, failed in numbers)
    found = [int(match) for pattern in COUNTS for match in pattern.findall(log)]
    return sum(found), 0


def table(outcomes: Sequence[Outcome], whole_s: float) -> str:
    """Suite, tests, seconds and share of the whole, what was made first; shares overlap side by side."""
    rows = [f"{'suite':24} {'tests':>6} {'seconds':>8} {'share':>6}"]
    made = [one for one in outcomes if not one.is_suite and one.took_s >= 1]
    for one in [*made, *(one for one in outcomes if one.is_suite)]:
        tests = str(one.tests) if one.is_suite else "-"
        name = one.name if one.is_suite else f"({one.name})"
        mark = f"  FAILED: {one.failed}" if one.failed else ""
        rows.append(f"{name:24} {tests:>6} {one.took_s:8.0f} {one.took_s / whole_s:6.0%}{mark}")
    rows.append(f"{'whole':24} {sum(one.tests for one in outcomes):6} {whole_s:8.0f}")
    return "\n".join(rows)


def budget(outcomes: Sequence[Outcome], whole_s: float, others: float) -> tuple[bool, str]:
    """Return whether a run of the base set is within its budget, and the sentence about it.

    Args:
        outcomes: Its steps.
        whole_s: How long it took (seconds).
        others: The share of the cores that something else took, 0 to 1.
    """
    made_s = sum(one.took_s for one in outcomes if not one.is_suite)
    is_cold = made_s > COLD_FROM_S
    allowed_s = COLD_S if is_cold else WARM_S
    kind = f"cold run, {made_s / 60:.0f} min of making things" if is_cold else "warm run"
    load = f"other programs took {others:.0%} of the cores"
    said = f"{whole_s / 60:.1f} of {allowed_s / 60:.0f} min ({kind}; {load})"
    if whole_s <= allowed_s * GRACE:
        return True, said
    if others > BUSY_FROM:
        return True, f"{said}: over the budget, on a machine that was busy with something else"
    return (
        False,
        f"{said}: over the budget by more than a quarter. Make it quicker, or move what is slow to `full`",
    )


def covered(report: Path) -> str:
    """Return how much of the product was run, in words; "" where it was not measured.

    Args:
        report: What slipcover wrote, if it did.
    """
    if not report.is_file():
        return ""
    summary = json.loads(report.read_text(encoding="utf-8"))["summary"]
    lines = summary["covered_lines"] + summary["missing_lines"]
    return f"{summary['percent_covered']:.1f}% of {lines} lines of pipecatapp, by the unit tests"


def closing(outcomes: Sequence[Outcome]) -> str:
    """The line that counts: `N passed, N failed`."""
    tests = sum(one.tests for one in outcomes)
    failed = sum(one.failed for one in outcomes)
    return f"{max(0, tests - failed)} passed, {failed} failed"
