"""Promises about the suites of tests: every file belongs to one, and every suite can be run and is explained.

It owns the comparison of `testing/suites.yaml` with the checkout and with `scripts/test`.
"""

from __future__ import annotations

import re

import pytest

from testing.run.__main__ import MADE_AFTER
from testing.run.suites import read
from verification.repo.tree import REPO, files, report

pytestmark = pytest.mark.unit

SCRIPT = (REPO / "scripts" / "test").read_text(encoding="utf-8")
SUITES = read()


def test_every_file_has_a_suite() -> None:
    lonely = SUITES.without_a_suite([path.as_posix() for path in files()])
    faults = [
        f"{path}: no suite of testing/suites.yaml depends on it; add it to its inputs, or to `checked`"
        for path in lonely
    ]
    assert not faults, report(faults)


def test_every_pattern_means_a_file() -> None:
    patterns = {pattern for suite in SUITES.suites.values() for pattern in suite.inputs} | {*SUITES.checked}
    paths = [path.as_posix() for path in files()]
    suite = next(iter(SUITES.suites.values()))
    faults = []
    for pattern in sorted(patterns - {"testing/ledger.yaml"}):
        wanted = type(suite)("x", "full", "x", (pattern.removeprefix("!"),))
        if not any(wanted.matches(path) for path in paths):
            faults.append(f"testing/suites.yaml: nothing is meant by '{pattern}'")
    assert not faults, report(faults)


def test_every_suite_is_a_verb_that_help_explains() -> None:
    verbs = {name.partition("/")[0] for name in SUITES.suites}
    explained = SCRIPT.partition("set -euo")[0]
    faults = [f"scripts/test has no verb_{verb}()" for verb in verbs if f"verb_{verb}()" not in SCRIPT]
    faults += [
        f"scripts/test --help does not explain {verb}"
        for verb in verbs
        if not re.search(rf"^#.*\b{verb}\b", explained, re.MULTILINE)
    ]
    assert not faults, report(faults)


def test_all_that_a_suite_needs_can_be_made() -> None:
    needs = {need for suite in SUITES.suites.values() for need in suite.needs}
    faults = [f"testing/suites.yaml: nobody makes '{need}'" for need in needs - set(MADE_AFTER)]
    faults += [
        f"scripts/test prepare does not know '{name}'"
        for name in MADE_AFTER
        if f"\n    {name})" not in SCRIPT
    ]
    assert not faults, report(faults)
