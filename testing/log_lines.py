"""The lines of the log that a person reads, of what pytest caught.

It owns nothing but the way from a record to its line, which is `app/logs`'s.
"""

from __future__ import annotations

import pytest

from pipecatapp.app.logs import LineFormatter


def log_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines that standard error would have, values of `extra` among them."""
    formatter = LineFormatter(shows_private=False)
    return [formatter.format(record) for record in caplog.records]
