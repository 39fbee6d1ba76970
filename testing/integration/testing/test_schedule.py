"""Steps as real processes: which run side by side, which alone, what a failure or Ctrl-C takes with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from testing.run.load import MARK, LoadWatch, known_ticks, processes
from testing.run.schedule import Schedule, Step

pytestmark = pytest.mark.integration

STEP = """
import json, sys, time, pathlib
name, folder, wanted, code = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
(folder / f"{name}.began").touch()
deadline = time.monotonic() + 10
while wanted and not (folder / wanted).exists() and time.monotonic() < deadline:
    time.sleep(0.01)
if time.monotonic() >= deadline:
    sys.exit(9)
seen = sorted(path.stem for path in folder.glob("*.began") if not path.with_suffix(".ended").exists())
(folder / f"{name}.ended").write_text(json.dumps(seen))
sys.exit(code)
"""


def step(folder: Path, name: str, *, wanted: str = "", code: int = 0, **more: object) -> Step:
    """A step that ends once a file is there and notes which steps it ran beside."""
    command = [sys.executable, "-c", STEP, name, str(folder), wanted, str(code)]
    return Step(name, command, **more)  # type: ignore[arg-type]


def beside(folder: Path, name: str) -> list[str]:
    found: list[str] = json.loads((folder / f"{name}.ended").read_text())
    return found


def test_two_suites_and_one_making_run_side_by_side(tmp_path: Path) -> None:
    steps = [
        step(tmp_path, "made", wanted="b.began", is_suite=False),
        step(tmp_path, "a", wanted="made.began"),
        step(tmp_path, "b", wanted="a.began"),
    ]
    outcomes = Schedule(steps, tmp_path / "logs", say=lambda _: None).run()

    assert {one.name for one in outcomes if not one.failed} == {"made", "a", "b"}
    assert (tmp_path / "a.ended").exists() and (tmp_path / "b.ended").exists()


def test_what_runs_alone_waits_for_all_and_lets_nothing_beside_it(tmp_path: Path) -> None:
    steps = [
        step(tmp_path, "first"),
        step(tmp_path, "lonely", is_alone=True),
        step(tmp_path, "last"),
    ]
    Schedule(steps, tmp_path / "logs", say=lambda _: None).run()

    assert beside(tmp_path, "lonely") == ["lonely"]
    assert "lonely" not in beside(tmp_path, "first") + beside(tmp_path, "last")


def test_a_step_waits_for_what_it_needs_while_later_ones_go_first(tmp_path: Path) -> None:
    steps = [
        step(tmp_path, "made", wanted="quick.ended", is_suite=False),
        step(tmp_path, "waits", after=("made",)),
        step(tmp_path, "quick"),
    ]
    outcomes = Schedule(steps, tmp_path / "logs", say=lambda _: None).run()

    assert [one.failed for one in outcomes] == [0, 0, 0]
    assert outcomes[-1].name == "waits"


def test_a_failure_takes_only_those_with_it_that_need_it(tmp_path: Path) -> None:
    said: list[str] = []
    steps = [
        step(tmp_path, "made", code=3, is_suite=False),
        step(tmp_path, "needs-it", after=("made",)),
        step(tmp_path, "other"),
    ]
    outcomes = Schedule(steps, tmp_path / "logs", say=said.append).run()

    assert {one.name: one.failed for one in outcomes} == {"made": 1, "other": 0, "needs-it": 1}
    assert not (tmp_path / "needs-it.began").exists()
    assert any("needs-it" in line and "was not run: it needs made" in line for line in said)


def test_ctrl_c_ends_what_runs_also_where_the_shell_ignores_it(tmp_path: Path) -> None:
    program = (
        "import signal, sys, pathlib; sys.path.insert(0, sys.argv[1])\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from testing.run.schedule import Schedule, Step\n"
        "folder = pathlib.Path(sys.argv[2])\n"
        "child = 'import pathlib, time, os; pathlib.Path(%r).write_text(str(os.getpid())); time.sleep(60)'\n"
        "command = [sys.executable, '-c', child % str(folder / 'pid')]\n"
        "Schedule([Step('long', command)], folder / 'logs').run()\n"
    )
    root = Path(__file__).resolve().parents[3]
    running = subprocess.Popen(
        [
            "bash",
            "-c",
            'trap "" INT; exec "$@"',
            "bash",
            sys.executable,
            "-c",
            program,
            str(root),
            str(tmp_path),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline_s = time.monotonic() + 30
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    child = int((tmp_path / "pid").read_text())

    running.send_signal(signal.SIGINT)
    assert running.wait(30) != 0

    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


SPIN = "import time; end = time.monotonic() + 2\nwhile time.monotonic() < end: pass"


def test_the_time_of_children_is_ours_and_that_of_marked_orphans_too(tmp_path: Path) -> None:
    mark = f"test-{os.getpid()}"
    child = subprocess.Popen([sys.executable, "-c", SPIN])
    orphan_of = subprocess.run(
        ["bash", "-c", f'{sys.executable} -c "{SPIN}" >/dev/null 2>&1 & echo $!'.replace("\n", "\\n")],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {MARK: mark},
    )
    orphan = int(orphan_of.stdout)
    try:
        alive = {
            pid: process for pid, process in processes().items() if pid in (child.pid, orphan, os.getpid())
        }
        alive = {pid: (parent, 100) for pid, (parent, _) in alive.items()}
        assert set(alive) == {child.pid, orphan, os.getpid()}
        assert known_ticks(alive, os.getpid(), mark) == 300
        assert known_ticks(alive, os.getpid(), "another") == 200
    finally:
        child.wait()


def test_a_watch_ends_with_its_block() -> None:
    before = threading.active_count()
    with LoadWatch("nobody") as load:
        assert load.share == 0
    assert threading.active_count() == before
