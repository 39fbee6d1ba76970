"""Run the scenarios of the roles one after the other, each on a machine of its own; one line for each.

It owns their choice, their order and what is told; the steps of a scenario are Molecule's.

Usage: python -m testing.molecule.run [--quick] [ROLE | ROLE/SCENARIO]...
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from testing.hosts.cluster import ROOT
from testing.molecule.layers import LAYERS, LOGS, ensure_layers
from testing.molecule.machine import OWNER, stop

ROLES = ROOT / "ansible" / "roles"
CONFIG = ROOT / "ansible" / ".config" / "molecule" / "config.yaml"
QUICK = ("preflight_checks", "common/default", "cluster_secrets", "tls/default", "service/default")
"""What continuous integration runs: some 20 s each on two cores."""
TAIL_LINES = 40


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario of one role."""

    role: str
    name: str
    layer: str

    def __str__(self) -> str:
        return f"{self.role}/{self.name}"


def scenarios() -> list[Scenario]:
    """Every scenario there is; those on lower layers first."""
    default = _layer_of(CONFIG, "")
    found = [
        Scenario(path.parts[-4], path.parts[-2], _layer_of(path, default))
        for path in ROLES.glob("*/molecule/*/molecule.yml")
    ]
    return sorted(found, key=lambda one: (list(LAYERS).index(one.layer), str(one)))


def chosen(names: list[str]) -> list[Scenario]:
    """The scenarios with these names, `ROLE` or `ROLE/SCENARIO`; all when there is no name.

    Raises:
        SystemExit: A name fits none; with those that there are.
    """
    everything = scenarios()
    unknown = [name for name in names if not any(name in (one.role, str(one)) for one in everything)]
    if unknown:
        known = " ".join(str(one) for one in everything)
        raise SystemExit(f"error: no scenario '{unknown[0]}'; known: {known}")
    return [one for one in everything if not names or {one.role, str(one)} & set(names)]


def test(scenario: Scenario) -> int:
    """Run all steps of a scenario into its log; return Molecule's exit code."""
    work = LOGS / "work" / f"{scenario.role}-{scenario.name}"
    shutil.rmtree(work, ignore_errors=True)
    molecule = Path(sys.executable).with_name("molecule")
    environment = os.environ | {
        "MOLECULE_EPHEMERAL_DIRECTORY": str(work),
        OWNER: str(os.getpid()),
        "PATH": f"{molecule.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "NO_COLOR": "1",
        "LC_ALL": "C.UTF-8",
    }
    began_s = time.monotonic()
    try:
        with (
            log_of(scenario).open("w", encoding="utf-8") as log,
            subprocess.Popen(
                [str(molecule), "-c", str(CONFIG), "test", "--scenario-name", scenario.name],
                cwd=ROLES / scenario.role,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
            ) as process,
        ):
            assert process.stdout is not None
            for line in process.stdout:
                log.write(f"[{time.monotonic() - began_s:5.1f}] {line}")
                log.flush()
        return process.returncode
    finally:
        stop(work / "machine")


def log_of(scenario: Scenario) -> Path:
    """Where a scenario's output goes."""
    return LOGS / f"{scenario.role}-{scenario.name}.log"


def tail_of(lines: list[str]) -> list[str]:
    """What a person wants of a log: from the last task that failed on; else its end."""
    failed = max((place for place, line in enumerate(lines) if "fatal: [" in line), default=0)
    begin = max((place for place in range(failed) if "] TASK [" in lines[place]), default=0)
    return lines[begin : begin + TAIL_LINES] if begin else lines[-TAIL_LINES:]


def tell(word: str, name: str, took_s: float) -> None:
    """Print one line."""
    sys.stdout.write(f"{word:5} {name:28} {took_s:6.1f} s\n")
    sys.stdout.flush()


def run(scenario: Scenario) -> bool:
    """Run a scenario and tell how it went."""
    began_s = time.monotonic()
    code = test(scenario)
    tell("ok" if code == 0 else "FAIL", str(scenario), time.monotonic() - began_s)
    if code != 0:
        text = log_of(scenario).read_text(encoding="utf-8", errors="replace")
        sys.stdout.write("".join(f"      | {line}\n" for line in tail_of(text.splitlines())))
        sys.stdout.write(f"      log: {log_of(scenario).relative_to(ROOT)}\n")
        sys.stdout.write(f"      Run just that: scripts/test molecule -- {scenario}\n")
    return code == 0


def prepare(layer: str) -> None:
    """Make what is missing of the layers and tell how long it took."""
    began_s = time.monotonic()
    missing: list[str] = []
    ensure_layers(layer, missing.append)
    if missing:
        tell("made", f"layers: {' '.join(missing)}", time.monotonic() - began_s)


def main() -> None:
    """Run what the command line asks for; exit with 1 when one failed."""
    parser = argparse.ArgumentParser(prog="scripts/test molecule --")
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK)}")
    parser.add_argument("names", nargs="*", metavar="ROLE[/SCENARIO]")
    arguments = parser.parse_args()
    wanted = chosen([*arguments.names, *(QUICK if arguments.quick else ())])
    LOGS.mkdir(parents=True, exist_ok=True)
    failed: list[str] = []
    began_s = time.monotonic()
    with (LOGS / "lock").open("w", encoding="ascii") as lock:
        # The machines of one checkout have one network.
        fcntl.flock(lock, fcntl.LOCK_EX)
        for scenario in wanted:
            prepare(scenario.layer)
            if not run(scenario):
                failed.append(str(scenario))
    word = "FAIL" if failed else "ok"
    tell(word, f"{len(wanted) - len(failed)} of {len(wanted)} scenarios", time.monotonic() - began_s)
    if failed:
        raise SystemExit(f"failed: {' '.join(failed)}")


def _layer_of(path: Path, default: str) -> str:
    settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    platforms = settings.get("platforms") or [{}]
    return str(platforms[0].get("image", default))


if __name__ == "__main__":
    main()
