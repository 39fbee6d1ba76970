"""Runs sets of suites, keeps the ledger, and says what a change touches.

It owns the order of a run and what is told of it. `scripts/test` calls it once the environment is there.

Usage: python -m testing.run base|full|affected|ledger|note|digest|list [...]
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from testing.run.ledger import Ledger, table
from testing.run.load import MARK, LoadWatch
from testing.run.report import Outcome, budget, closing, count, covered
from testing.run.report import table as closing_table
from testing.run.schedule import Schedule, Step, say
from testing.run.suites import ROOT, Suite, Suites, changed_since, digest, read

REPORTS = ROOT / "build" / "reports"
LOGS = ROOT / "build" / "logs"
COVERAGE = REPORTS / "coverage.json"
"""What the unit suite leaves of the lines that it ran."""
MADE_AFTER: dict[str, tuple[str, ...]] = {
    "packages": (),
    "images": ("packages",),
    "binaries": ("packages",),
    "models": ("packages",),
    "llama.cpp": ("packages",),
    "older-binaries": ("packages",),
    "cluster-disks": ("packages", "images", "binaries", "models", "llama.cpp"),
}
"""What can be made (`scripts/test prepare NAME`), in this order, and what each needs."""


def base_of(commit: str) -> str:
    """The commit to compare with: the one that is named, else where HEAD left origin/main, else HEAD."""
    if commit:
        return commit
    done = subprocess.run(
        ["git", "merge-base", "HEAD", "origin/main"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "HEAD"


def steps_of(chosen: Sequence[Suite]) -> list[Step]:
    """What has to be made, and the suites: those that may run beside others first."""
    wanted = {"packages", *(need for suite in chosen for need in suite.needs)}
    for name in reversed(MADE_AFTER):
        if name in wanted:
            wanted.update(MADE_AFTER[name])
    test = str(ROOT / "scripts" / "test")
    making = [
        Step(name, [test, "prepare", name], MADE_AFTER[name], is_suite=False)
        for name in MADE_AFTER
        if name in wanted
    ]
    suites = [
        Step(
            suite.name,
            suite.command,
            ("packages", *suite.needs),
            suite.is_alone,
            report=REPORTS / f"{'promises' if suite.name == 'check' else suite.name}.xml",
        )
        for suite in sorted(chosen, key=lambda suite: suite.is_alone)
    ]
    return [*making, *suites]


def run(chosen: Sequence[Suite], *, judges_budget: bool) -> int:
    """Run suites, tell, and return the exit code."""
    mark = f"{os.getpid()}-{secrets.token_hex(4)}"
    os.environ[MARK] = mark
    began_s = time.monotonic()
    with LoadWatch(mark) as load:
        outcomes = Schedule(steps_of(chosen), LOGS).run()
    whole_s = time.monotonic() - began_s
    failed = [one.name for one in outcomes if one.failed]
    lines = ["", closing_table(outcomes, whole_s), ""]
    if failed:
        lines += [f"failed: {' '.join(failed)}. Run one alone: scripts/test {_verb(failed[0])}"]
    is_within, said = budget(outcomes, whole_s, load.share)
    if judges_budget:
        lines += [f"time: {said}"]
    if any(suite.name == "unit" for suite in chosen) and (share := covered(COVERAGE)):
        lines += [f"coverage: {share}"]
    lines += [closing(_with_budget(outcomes, is_within or not judges_budget))]
    say("\n".join(lines))
    return 1 if failed or (judges_budget and not is_within) else 0


def _with_budget(outcomes: list[Outcome], is_within: bool) -> list[Outcome]:
    return outcomes if is_within else [*outcomes, Outcome("budget", 0.0, 1, 1)]


def _verb(name: str) -> str:
    if name in MADE_AFTER:
        return f"prepare {name}"
    verb, _, part = name.partition("/")
    return f"{verb} -- {part}" if part else verb


def full(suites: Suites, *, again: bool) -> int:
    """Run the base set, and all of `full` that is out of date."""
    ledger = Ledger()
    due = [suite for suite in suites.of("full") if again or not ledger.is_up_to_date(suite)]
    kept = [suite.name for suite in suites.of("full") if suite not in due]
    if kept:
        say(f"up to date, not run: {' '.join(kept)} (run them all: scripts/test full --again)")
    return run([*suites.of("base"), *due], judges_budget=False)


def affected(suites: Suites, base: str, *, only_list: bool) -> int:
    """Run, or name, the suites that depend on what has changed since a commit."""
    paths = changed_since(base_of(base))
    chosen = suites.touched_by(paths)
    if only_list or not chosen:
        say("\n".join(suite.name for suite in chosen) or "nothing has changed")
        return 0
    return run(chosen, judges_budget=False)


def note(suites: Suites, name: str, inputs: str, took_s: float) -> int:
    """Write a suite's line into the ledger, when its inputs are still those that it began with."""
    suite = suites.suites.get(name)
    if suite is None or suite.set != "full":
        return 0
    if digest(suite) != inputs:
        say(f"not noted in the ledger: what {name} depends on has changed while it ran")
        return 0
    log = LOGS / f"{name.replace('/', '-')}.log"
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    tests, _ = count(REPORTS / f"{name}.xml", text)
    Ledger().write(name, inputs, took_s, tests)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit code."""
    # A shell that starts this in the background has it ignore Ctrl-C, and its children with it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parser = argparse.ArgumentParser(prog="scripts/test")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("base", help="what every change must pass")
    whole = verbs.add_parser("full", help="everything that is out of date")
    whole.add_argument("--again", action="store_true", help="also what is up to date")
    touched = verbs.add_parser("affected", help="the suites that a change touches")
    touched.add_argument("base", nargs="?", default="", metavar="BASE", help="commit to compare with")
    touched.add_argument("--list", action="store_true", dest="only_list", help="name them, run nothing")
    verbs.add_parser("ledger", help="what of `full` is up to date")
    verbs.add_parser("list", help="every suite and what it shows")
    noting = verbs.add_parser("note")
    noting.add_argument("name")
    noting.add_argument("inputs")
    noting.add_argument("took_s", type=float)
    verbs.add_parser("digest").add_argument("name")
    wanted = parser.parse_args(arguments)
    suites = read()
    try:
        if wanted.verb == "base":
            return run(suites.of("base"), judges_budget=True)
        if wanted.verb == "full":
            return full(suites, again=wanted.again)
        if wanted.verb == "affected":
            return affected(suites, wanted.base, only_list=wanted.only_list)
        if wanted.verb == "note":
            return note(suites, wanted.name, wanted.inputs, wanted.took_s)
    except ValueError as exc:
        sys.stderr.write(f"error: {exc}" + "\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("stopped; what has passed of `full` is in the ledger and is not run again" + "\n")
        return 130
    if wanted.verb == "digest":
        suite = suites.suites.get(wanted.name)
        say(digest(suite) if suite and suite.set == "full" else "")
    elif wanted.verb == "ledger":
        say(table(suites.of("full"), Ledger()))
    else:
        say("\n".join(f"{suite.name:28} {suite.set:5} {suite.claim}" for suite in suites.suites.values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
