"""Runs steps in their order: those that may, side by side; those that must, alone.

It owns processes, their logs and the lines that tell of them; what a step is, the caller says.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from testing.run.report import Outcome, count

POLL_S = 0.2
TELL_S = 60.0
"""How often a long step tells how far it is (seconds)."""
TAIL_LINES = 60
STOP_TIMEOUT_S = 60.0
PERCENT = re.compile(r"\[ *(\d+)%\]")


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


@dataclass(frozen=True, slots=True)
class Step:
    """Something to run.

    Args:
        name: What it is called in the table.
        command: Its command line.
        after: Names of steps that have to have passed before it.
        is_alone: Whether nothing may run beside it.
        is_suite: Whether it is a suite; else it makes what suites need.
        report: Where its JUnit report will be.
    """

    name: str
    command: Sequence[str]
    after: tuple[str, ...] = ()
    is_alone: bool = False
    is_suite: bool = True
    report: Path = Path("/nonexistent")


@dataclass
class _Running:
    step: Step
    process: subprocess.Popen[bytes]
    log: Path
    file: IO[bytes]
    began_s: float
    told_s: float = field(default=0.0)


class Schedule:
    """Runs steps; makes things in one lane and runs suites in the other.

    Args:
        steps: In the order in which they are begun; a step that waits lets later ones go first.
        logs: Folder of their logs.
        suites_at_once: How many suites may run side by side, >= 1.
        on_end: Told of every step that has ended.
        say: Where lines go.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        logs: Path,
        *,
        suites_at_once: int = 2,
        on_end: Callable[[Step, Outcome], None] = lambda _step, _outcome: None,
        say: Callable[[str], None] = say,
    ) -> None:
        self._waiting = list(steps)
        self._logs = logs
        self._at_once = suites_at_once
        self._on_end = on_end
        self._say = say
        self._running: list[_Running] = []
        self._passed: set[str] = set()
        self.outcomes: list[Outcome] = []

    def run(self) -> list[Outcome]:
        """Run all of them; one that fails takes those with it that come after it, and no others.

        Raises:
            KeyboardInterrupt: Ctrl-C; what ran has been ended.
        """
        self._logs.mkdir(parents=True, exist_ok=True)
        try:
            while self._waiting or self._running:
                self._begin_what_may()
                if not self._running:
                    self._give_up_waiting()
                    break
                time.sleep(POLL_S)
                for one in list(self._running):
                    self._look(one)
        except BaseException:
            self._end_all()
            raise
        return self.outcomes

    def _begin_what_may(self) -> None:
        for step in list(self._waiting):
            if self._may_begin(step):
                self._waiting.remove(step)
                self._begin(step)
            elif step.is_alone and set(step.after) <= self._passed:
                # Its turn has come: what is behind it must not keep the machine busy for ever.
                break

    def _may_begin(self, step: Step) -> bool:
        if not set(step.after) <= self._passed:
            return False
        if any(one.step.is_alone for one in self._running):
            return False
        if step.is_alone:
            return not self._running
        same = [one for one in self._running if one.step.is_suite == step.is_suite]
        return len(same) < (self._at_once if step.is_suite else 1)

    def _begin(self, step: Step) -> None:
        log = self._logs / f"{step.name.replace('/', '-')}.log"
        step.report.unlink(missing_ok=True)
        file = log.open("wb")
        process = subprocess.Popen(
            step.command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._running.append(_Running(step, process, log, file, time.monotonic(), time.monotonic()))
        if step.is_suite:
            self._say(f"..    {step.name:24} begins; its log: {log}")

    def _look(self, one: _Running) -> None:
        code = one.process.poll()
        now_s = time.monotonic()
        if code is None:
            if now_s - one.told_s >= TELL_S:
                one.told_s = now_s
                self._say(
                    f"..    {one.step.name:24} {now_s - one.began_s:5.0f} s  {_how_far(one.log)}".rstrip()
                )
            return
        self._running.remove(one)
        one.file.close()
        text = one.log.read_text(encoding="utf-8", errors="replace")
        tests, failed = count(one.step.report, text) if one.step.is_suite else (0, 0)
        if code != 0:
            failed = max(1, failed)
        took_s = now_s - one.began_s
        outcome = Outcome(one.step.name, took_s, tests, failed, one.step.is_suite)
        self.outcomes.append(outcome)
        if not failed:
            self._passed.add(one.step.name)
            if one.step.is_suite or took_s >= 1:
                said = f", {tests} tests" if tests else ""
                self._say(f"ok    {one.step.name:24} {took_s:5.0f} s{said}")
        else:
            self._say(f"FAIL  {one.step.name:24} {took_s:5.0f} s (exit {code}); the end of {one.log}:")
            for line in text.splitlines()[-TAIL_LINES:]:
                self._say(f"      | {line}")
        self._on_end(one.step, outcome)

    def _give_up_waiting(self) -> None:
        for step in self._waiting:
            lacking = ", ".join(name for name in step.after if name not in self._passed)
            self._say(f"FAIL  {step.name:24} was not run: it needs {lacking}")
            outcome = Outcome(step.name, 0.0, 0, 1, step.is_suite)
            self.outcomes.append(outcome)
            self._on_end(step, outcome)
        self._waiting.clear()

    def _end_all(self) -> None:
        for one in self._running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(one.process.pid, signal.SIGINT)
        for one in self._running:
            try:
                one.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(one.process.pid, signal.SIGKILL)
            one.file.close()


def _how_far(log: Path) -> str:
    """The last share that pytest has told in a log, or its last line."""
    text = log.read_text(encoding="utf-8", errors="replace")[-4000:]
    if found := PERCENT.findall(text):
        return f"{found[-1]} %"
    lines = [line.strip() for line in re.split(r"[\r\n]", text) if line.strip()]
    return lines[-1][:80] if lines else ""
