"""The ledger: with which inputs each suite of `full` last passed as a whole, when, and how long it took.

It owns `testing/ledger.yaml`; what a suite's inputs are is `suites`'.
"""

from __future__ import annotations

import datetime
import fcntl
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from testing.run.suites import ROOT, Suite, digest

LEDGER_FILE = ROOT / "testing" / "ledger.yaml"
HEAD = """\
---
# Purpose: with which inputs each suite of `scripts/test full` last passed as a whole.
#
# Written by scripts/test; `scripts/test ledger` says what is out of date.

"""


@dataclass(frozen=True, slots=True)
class Line:
    """When a suite last passed.

    Args:
        inputs: The digest of its inputs then.
        passed: The day, as YYYY-MM-DD (UTC).
        took_s: How long it took (seconds).
        tests: How many tests it had.
    """

    inputs: str
    passed: str
    took_s: int
    tests: int


class Ledger:
    """The file and its lines.

    Args:
        path: The file; a missing one is empty.
    """

    def __init__(self, path: Path = LEDGER_FILE) -> None:
        self._path = path

    def lines(self) -> dict[str, Line]:
        """Every line, by suite.

        Raises:
            ValueError: The file is not what it should be.
        """
        if not self._path.is_file():
            return {}
        document = yaml.safe_load(self._path.read_text(encoding="utf-8")) or {}
        try:
            return {name: Line(**entry) for name, entry in document.items()}
        except (AttributeError, TypeError) as exc:
            raise ValueError(f"{self._path} is damaged ({exc}); take the committed one back") from exc

    def write(self, suite: str, inputs: str, took_s: float, tests: int) -> None:
        """Note that a suite has passed as a whole; the lines of the others stay."""
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        # Two runs may end at once: each reads what the other wrote.
        with self._path.open("a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            lines = self.lines() | {suite: Line(inputs, today, round(took_s), tests)}
            text = yaml.safe_dump({name: asdict(lines[name]) for name in sorted(lines)}, sort_keys=False)
            file.truncate(0)
            file.write(HEAD + text)

    def is_up_to_date(self, suite: Suite) -> bool:
        """Whether a suite has passed with the inputs that it has now."""
        line = self.lines().get(suite.name)
        return line is not None and line.inputs == digest(suite)


def table(suites: Iterable[Suite], ledger: Ledger) -> str:
    """What is up to date and what is not, a line each."""
    lines = ledger.lines()
    rows = []
    for suite in suites:
        line = lines.get(suite.name)
        if line is None:
            rows.append(f"{suite.name:28} never passed as a whole")
            continue
        state = "up to date" if line.inputs == digest(suite) else "out of date"
        rows.append(f"{suite.name:28} {state:12} {line.passed}  {line.took_s:5} s  {line.tests:4} tests")
    return "\n".join(rows)
