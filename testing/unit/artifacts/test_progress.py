"""What a person sees of a download: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import io

import pytest

from pipecatapp.artifacts.progress import TextProgress, duration, megabytes

pytestmark = pytest.mark.unit


class Watch:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_log_gets_a_line_every_few_seconds_and_not_more() -> None:
    out, watch = io.StringIO(), Watch()
    progress = TextProgress(out, is_terminal=False, monotonic_s=watch)
    progress.start("model.gguf", 100_000_000)
    for second in range(1, 13):
        watch.now_s = 100.0 + second
        progress.update(second * 5_000_000)
    lines = out.getvalue().splitlines()
    assert lines == [
        "model.gguf  25%  25.0/100.0 MB  5.0 MB/s  15 s left",
        "model.gguf  50%  50.0/100.0 MB  5.0 MB/s  10 s left",
    ]


def test_terminal_draws_one_line_again_and_again() -> None:
    out, watch = io.StringIO(), Watch()
    progress = TextProgress(out, is_terminal=True, monotonic_s=watch)
    progress.start("model.gguf", 100)
    watch.now_s += 1
    progress.update(50)
    assert "\n" not in out.getvalue()
    assert out.getvalue().count("\r") == 2
    assert "[##############..............]  50%" in out.getvalue()


def test_resumed_download_counts_its_speed_from_where_it_began() -> None:
    out, watch = io.StringIO(), Watch()
    progress = TextProgress(out, is_terminal=False, monotonic_s=watch)
    progress.start("model.gguf", 100_000_000, done=90_000_000)
    watch.now_s += 5
    progress.update(95_000_000)
    assert "95%  95.0/100.0 MB  1.0 MB/s  5 s left" in out.getvalue()


def test_steps_are_counted_as_steps() -> None:
    out, watch = io.StringIO(), Watch()
    progress = TextProgress(out, is_terminal=False, monotonic_s=watch)
    progress.start("building llama.cpp", 468, unit="steps")
    watch.now_s += 10
    progress.update(117)
    assert out.getvalue() == "building llama.cpp  25%  117/468 steps  after 10 s  30 s left\n"


def test_end_says_how_and_how_long_or_nothing() -> None:
    out, watch = io.StringIO(), Watch()
    progress = TextProgress(out, is_terminal=False, monotonic_s=watch)
    progress.start("model.gguf", 100)
    watch.now_s += 75
    progress.finish("sha256 is right")
    progress.finish("")
    assert out.getvalue() == "model.gguf: sha256 is right (1 min 15 s)\n"


@pytest.mark.parametrize(
    ("size_bytes", "text"), [(466_247, "0.5 MB"), (22_928_619, "23 MB"), (1_117_320_768, "1.12 GB")]
)
def test_sizes_are_in_units_that_fit(size_bytes: int, text: str) -> None:
    assert megabytes(size_bytes) == text


def test_durations_are_in_words() -> None:
    assert [duration(0.4), duration(59), duration(61)] == ["0 s", "59 s", "1 min 1 s"]
