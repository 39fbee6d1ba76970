"""What stays beside a model's server passes signals on, and tells when the CPU ended it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration


def minded(tmp_path: Path, script: str) -> list[str]:
    commands = (["sh", "-c", script], ["sh", "-c", f'echo "$0" >{tmp_path}/told'])
    start = (
        "import os; from pipecatapp.adapters.host.process_shim import exec_with_shim;"
        f" exec_with_shim(*{commands!r}, os.environ)"
    )
    return [sys.executable, "-c", start]


def test_an_illegal_instruction_is_told_and_counts_as_shells_count_it(tmp_path: Path) -> None:
    done = subprocess.run(minded(tmp_path, "kill -ILL $$"), check=False)
    assert done.returncode == 128 + signal.SIGILL
    assert "SIGILL" in (tmp_path / "told").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 3", 3), ("kill -KILL $$", 128 + signal.SIGKILL)]
)
def test_any_other_end_is_passed_on_and_not_told(tmp_path: Path, script: str, status: int) -> None:
    assert subprocess.run(minded(tmp_path, script), check=False).returncode == status
    assert not (tmp_path / "told").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_reach_the_program(tmp_path: Path, number: signal.Signals) -> None:
    script = f"trap 'echo got >{tmp_path}/got; exit 7' TERM INT HUP; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen(minded(tmp_path, script), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.wait(timeout=30) == 7
    assert (tmp_path / "got").exists()


def test_it_is_small(tmp_path: Path) -> None:
    command = minded(tmp_path, "echo ready; exec sleep 30")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        process.terminate()
        process.wait(timeout=30)
    resident_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    assert resident_kb < 20_000


def test_a_program_is_told_to_end_by_the_same_process_that_was_started(tmp_path: Path) -> None:
    command = minded(tmp_path, "echo $PPID; exec sleep 30")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) == process.pid
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(timeout=30) == 128 + signal.SIGTERM
