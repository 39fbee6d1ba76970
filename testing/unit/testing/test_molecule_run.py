"""What is told of a scenario that failed.

It owns the choice of lines; the runs are real ones (scripts/test molecule).
"""

from __future__ import annotations

import pytest

from testing.molecule.run import TAIL_LINES, tail_of

pytestmark = pytest.mark.unit


def test_the_tail_begins_with_the_task_that_failed() -> None:
    well = ["[  1.0] TASK [Look] ****", "[  1.1] ok: [node-11]"]
    ill = ["[  2.0] TASK [Compare] ****", "[  2.1] fatal: [node-11]: FAILED! =>", "[  2.2]     msg: no"]
    after = ["[  3.0] PLAY [Destroy] ****", "[  3.1] TASK [Remove the machine] ****"]

    assert tail_of(well + ill + after) == ill + after


def test_without_a_failed_task_the_tail_is_the_end() -> None:
    lines = [f"line {number}" for number in range(TAIL_LINES * 2)]

    assert tail_of(lines) == lines[-TAIL_LINES:]
