"""Server-sent events, read from the bytes of a stream as they come.

It owns the format (html.spec.whatwg.org, "Server-sent events"), as far as it is in use: each `data` line is
an event at once, because no server that is asked here spreads one over several. Not here: what the data mean.
"""

from __future__ import annotations

from dataclasses import dataclass

DONE = "[DONE]"
"""The data by which OpenAI's servers end a stream."""


@dataclass(frozen=True, slots=True)
class SseEvent:
    """One event.

    Args:
        data: Its data.
        name: Its name; "" for none. A line of the field `error`, which is llama.cpp's own, is an event of
            that name.
    """

    data: str
    name: str = ""

    @property
    def is_done(self) -> bool:
        """Whether it ends a stream of OpenAI's."""
        return not self.name and self.data.strip() == DONE


class SseReader:
    """Takes pieces of a stream, cut anywhere, and returns the events that they complete."""

    def __init__(self) -> None:
        self._rest = b""
        self._name = ""

    def feed(self, piece: bytes) -> list[SseEvent]:
        """Return the events that end in a piece."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        return [event for line in lines if (event := self._read(line.removesuffix(b"\r"))) is not None]

    def end(self) -> list[SseEvent]:
        """Return the event that a stream leaves which ended in the middle of a line."""
        return self.feed(b"\n")

    def _read(self, line: bytes) -> SseEvent | None:
        if not line:
            self._name = ""
            return None
        field, _, value = line.decode(errors="replace").partition(":")
        value = value.removeprefix(" ")
        match field:
            case "event":
                self._name = value
            case "data":
                return SseEvent(value, self._name)
            case "error":
                return SseEvent(value, "error")
        return None
