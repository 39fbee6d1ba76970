"""The line of the log that a person reads."""

from __future__ import annotations

import logging

import pytest

from pipecatapp.app.logs import LineFormatter

pytestmark = pytest.mark.unit


def record(**extra: object) -> logging.LogRecord:
    return logging.getLogger("twin").makeRecord(
        "twin", logging.WARNING, "file.py", 1, "A model is not served", (), None, extra=extra
    )


def test_values_follow_the_message_in_their_order() -> None:
    line = LineFormatter(shows_private=False).format(record(model="big", reason="it takes 9 MiB"))
    assert line.endswith("WARNING twin: A model is not served model=big reason=it takes 9 MiB")


def test_several_lines_come_last_as_they_are() -> None:
    line = LineFormatter(shows_private=False).format(record(ending="SIGILL", last_words="\none\ntwo"))
    assert line.splitlines()[1:] == ["one", "two"]


@pytest.mark.parametrize("shows_private", [True, False])
def test_what_people_say_is_shown_for_debugging_only(shows_private: bool) -> None:
    line = LineFormatter(shows_private=shows_private).format(record(pii_text="a secret"))
    assert ("a secret" in line) is shows_private
