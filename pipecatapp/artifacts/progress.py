"""Progress of a download or a build.

It owns the bar on a terminal and the line every few seconds elsewhere; what is counted belongs to who
reports it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, TextIO

LINE_INTERVAL_S = 5.0
"""Time between two lines where there is no terminal; a log reader's patience."""
REDRAW_INTERVAL_S = 0.1
"""Time between two drawings of the bar; faster is a flicker."""
BAR_WIDTH = 28
"""Characters of the bar, so that a label fits beside it in 80 columns."""


class Progress(Protocol):
    """Where a job reports to. One job at a time."""

    def start(self, label: str, total: int, *, unit: str = "B", done: int = 0) -> None:
        """A job of `total` units begins, `done` of them earlier; "B" is shown as MB."""
        ...

    def update(self, done: int) -> None:
        """`done` units are done."""
        ...

    def note(self, text: str) -> None:
        """Say one line that stays."""
        ...

    def finish(self, text: str) -> None:
        """The job is over; `text` says how, or is "" when that is not worth a line."""
        ...


class SilentProgress:
    """Says nothing."""

    def start(self, label: str, total: int, *, unit: str = "B", done: int = 0) -> None:
        """Ignore the start."""

    def update(self, done: int) -> None:
        """Ignore the count."""

    def note(self, text: str) -> None:
        """Ignore the line."""

    def finish(self, text: str) -> None:
        """Ignore the end."""


class TextProgress:
    """A bar on a terminal, else a line now and then.

    Args:
        stream: Where to write.
        is_terminal: Whether to draw; None asks the stream.
        monotonic_s: The time.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        is_terminal: bool | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty() if is_terminal is None else is_terminal
        self._now = monotonic_s
        self._label = ""
        self._unit = "B"
        self._total = 0
        self._done = 0
        self._first = 0
        self._started_s = 0.0
        self._shown_s = 0.0
        self._width = 0

    def start(self, label: str, total: int, *, unit: str = "B", done: int = 0) -> None:
        """A job of `total` units begins, `done` of them earlier; "B" is shown as MB."""
        self._label, self._unit, self._total = label, unit, total
        self._done = self._first = done
        self._started_s = self._now()
        self._shown_s = self._started_s
        if self._is_terminal:
            self._show()

    def update(self, done: int) -> None:
        """`done` units are done."""
        self._done = done
        interval_s = REDRAW_INTERVAL_S if self._is_terminal else LINE_INTERVAL_S
        if self._now() - self._shown_s >= interval_s:
            self._shown_s = self._now()
            self._show()

    def note(self, text: str) -> None:
        """Say one line that stays."""
        self._clear()
        self._stream.write(text + "\n")
        self._stream.flush()

    def finish(self, text: str) -> None:
        """The job is over; `text` says how, or is "" when that is not worth a line."""
        self._clear()
        if text:
            self.note(f"{self._label}: {text} ({duration(self._now() - self._started_s)})")

    def _show(self) -> None:
        line = self._line()
        if not self._is_terminal:
            self._stream.write(line + "\n")
        else:
            self._stream.write("\r" + line.ljust(self._width))
            self._width = len(line)
        self._stream.flush()

    def _line(self) -> str:
        share = min(1.0, self._done / self._total) if self._total else 0.0
        parts = [f"{share:4.0%}", self._amount()]
        elapsed_s = self._now() - self._started_s
        rate = (self._done - self._first) / elapsed_s if elapsed_s > 0.5 else 0.0
        if rate > 0:
            if self._unit == "B":
                parts.append(f"{rate / 1e6:.1f} MB/s")
            parts.append(f"{duration(max(0.0, (self._total - self._done) / rate))} left")
        if self._unit != "B" and elapsed_s >= 1:
            parts.insert(2, f"after {duration(elapsed_s)}")
        bar = ""
        if self._is_terminal:
            filled = round(share * BAR_WIDTH)
            bar = f" [{'#' * filled}{'.' * (BAR_WIDTH - filled)}]"
        return f"{self._label}{bar} {'  '.join(parts)}"

    def _amount(self) -> str:
        if self._unit == "B":
            return f"{self._done / 1e6:.1f}/{self._total / 1e6:.1f} MB"
        return f"{self._done}/{self._total} {self._unit}"

    def _clear(self) -> None:
        if self._is_terminal and self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._width = 0


def duration(seconds: float) -> str:
    """Return a time as a person says it, like `1 min 20 s`."""
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"


def megabytes(size_bytes: int) -> str:
    """Return a size in units that fit it, like `491 MB` or `1.12 GB` (powers of ten, as files are sold)."""
    if size_bytes >= 1_000_000_000:
        return f"{size_bytes / 1e9:.2f} GB"
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes < 10_000_000 else f"{size_bytes / 1e6:.0f} MB"
