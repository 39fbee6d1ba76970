"""Where the process's log goes.

It owns the root logger's form and pipecat's loguru; what is logged is each module's. Values given as
`extra` follow the message, except `pii_text`, which only debug shows.
"""

from __future__ import annotations

import logging
import sys

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_LIBRARIES = (
    "httpx",
    "httpcore",
    "aioice",
    "aiortc",
    "websockets",
    "faster_whisper",
    "piper",
    "uvicorn",
)
"""Loggers that tell each packet or request; they are heard from warning on."""


class LineFormatter(logging.Formatter):
    """`time level logger: message key=value ...`.

    Args:
        shows_private: Whether `pii_text` is shown too.
    """

    def __init__(self, *, shows_private: bool) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
        self._shows_private = shows_private

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        values = {
            key: value
            for key, value in vars(record).items()
            if key not in _STANDARD and (self._shows_private or key != "pii_text")
        }
        line = super().format(record)
        return f"{line} {' '.join(f'{key}={value}' for key, value in values.items())}" if values else line


def set_up_logging(level: str) -> None:
    """Send every log to standard error.

    Args:
        level: "debug", "info", "warning" or "error".
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(shows_private=level == "debug"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    if level != "debug":
        for name in _LIBRARIES:
            logging.getLogger(name).setLevel(logging.WARNING)


def quiet_pipecat(level: str) -> None:
    """Send pipecat's own log (loguru) the same way; below debug only its errors matter.

    Args:
        level: As for `set_up_logging`.
    """
    from loguru import logger as loguru

    def forward(message: object) -> None:
        record = message.record  # type: ignore[attr-defined]
        logging.getLogger("pipecat").log(record["level"].no, record["message"].replace("%", "%%"))

    loguru.remove()
    loguru.add(forward, level="DEBUG" if level == "debug" else "ERROR", format="{message}")
