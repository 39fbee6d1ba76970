"""Nothing leaves the house: a conversation in a network without a way out, and a count of what tried."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SPOKEN = (
    "test_three_questions_are_heard_right_and_answered_in_words",
    "test_a_second_turn_uses_what_the_first_said",
    "test_barge_in_cuts_the_sound_and_keeps_only_what_was_said",
)
IN_BROWSER = ("test_a_question_spoken_to_the_page_is_answered_aloud",)


def run_in_cell(report: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command without a network; as a plain user through a user namespace of its own."""
    unshare = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--map-root-user"]
    environment = {name: value for name, value in os.environ.items() if name != "TWIN_URL"}
    return subprocess.run(
        [*unshare, str(HERE / "cell.sh"), str(report), *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


def packets_of(report: Path) -> tuple[int, int]:
    before, after = report.read_text().splitlines()[:2]
    return int(before), int(after)


def test_the_count_sees_a_packet_that_tries_to_leave(tmp_path: Path) -> None:
    report = tmp_path / "packets"
    run_in_cell(report, "bash", "-c", "echo x >/dev/udp/198.51.100.1/53 || true")

    assert packets_of(report) == (1, 2)


@pytest.mark.parametrize(("module", "names"), [("test_conversation.py", SPOKEN)])
def test_a_conversation_sends_no_packet_outside(tmp_path: Path, module: str, names: tuple[str, ...]) -> None:
    report = tmp_path / "packets"
    tests = [f"{HERE / module}::{name}" for name in names]
    done = run_in_cell(report, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert f"{len(names)} passed" in done.stdout
    before, after = packets_of(report)
    assert (before, after) == (1, 1), f"{after - before} tried to leave: {report.read_text()}"


def test_the_page_talks_in_a_house_without_internet(tmp_path: Path) -> None:
    tests = [f"{HERE / 'test_page.py'}::{name}" for name in IN_BROWSER]
    done = run_in_cell(
        tmp_path / "packets", sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests
    )

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
