"""What flows along a workflow's edges, and which kind fits which.

It owns the types that a port may have, their names for people, and text that grows while it is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from pipecatapp.ports import Message

Json = Mapping[str, Any]
"""A JSON object."""
Messages = tuple[Message, ...]
"""A prompt or a conversation, oldest first."""
Names = tuple[str, ...]
"""Names or sentences."""


class TextStream:
    """Text that arrives piece by piece; any number of readers each get all of it."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._is_closed = False
        self._changed = asyncio.Event()

    @classmethod
    def of(cls, text: str) -> TextStream:
        """Return a stream that is already complete."""
        stream = cls()
        if text:
            stream.put(text)
        stream.close()
        return stream

    @property
    def has_text(self) -> bool:
        """Whether anything has arrived."""
        return bool(self._pieces)

    def put(self, piece: str) -> None:
        """Add a piece and wake the readers."""
        self._pieces.append(piece)
        self._wake()

    def close(self) -> None:
        """Say that nothing more comes; a second time does nothing."""
        self._is_closed = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def pieces(self) -> AsyncIterator[str]:
        """Yield every piece from the first on, until the stream is closed."""
        at = 0
        while True:
            while at < len(self._pieces):
                yield self._pieces[at]
                at += 1
            if self._is_closed:
                return
            await self._changed.wait()

    async def text(self) -> str:
        """Wait for the end and return the whole."""
        async for _ in self.pieces():
            pass
        return "".join(self._pieces)


PORT_TYPES: Mapping[str, object] = {
    "text": str,
    "stream": TextStream,
    "flag": bool,
    "integer": int,
    "number": float,
    "messages": Messages,
    "names": Names,
    "json": Json,
    "any": object,
}
"""Every type a port may have, by the name that files and errors use."""


def type_name(annotation: object) -> str:
    """Return the name of a port's type.

    Raises:
        TypeError: A node class declares a type that no port may have.
    """
    for name, known in PORT_TYPES.items():
        if known == annotation:
            return name
    raise TypeError(f"{annotation!r} is no port type; known: {', '.join(PORT_TYPES)}")


_FITTING = {("text", "stream"), ("stream", "text"), ("integer", "number")}


def fits(source: str, target: str) -> bool:
    """Return whether a value of port type `source` may go into a port of type `target`.

    `any` takes and gives everything, and a value that turns out wrong stops the run. A stream that
    goes into a text port is waited for; a text that goes into a stream port is a stream of one piece.
    """
    return source == target or "any" in (source, target) or (source, target) in _FITTING


_ACCEPTED: Mapping[str, tuple[type, ...]] = {
    "text": (str,),
    "stream": (TextStream,),
    "flag": (bool,),
    "integer": (int,),
    "number": (int, float),
    "messages": (tuple, list),
    "names": (tuple, list),
    "json": (Mapping,),
    "any": (object,),
}


async def converted(value: object, target: str) -> object:
    """Return `value` as a port of type `target` takes it.

    Raises:
        TypeError: It cannot be.
    """
    if target == "any":
        return value
    if target == "text" and isinstance(value, TextStream):
        return await value.text()
    if target == "stream" and isinstance(value, str):
        return TextStream.of(value)
    is_flag_as_number = isinstance(value, bool) and target in ("integer", "number")
    if not isinstance(value, _ACCEPTED[target]) or is_flag_as_number:
        raise TypeError(f"a value of type {type(value).__name__} is no {target}")
    return tuple(value) if isinstance(value, list) else value
