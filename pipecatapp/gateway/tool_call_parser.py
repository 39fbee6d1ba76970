r"""Parses a reply that is bound to a tool call or to words, while it is streamed.

It owns the scanning: `{"tool": "name", "arguments": {...}}` gives the name and then the arguments as they
come, or the words when the tool is the one that stands for words. Text that does not begin like an object is
taken as words as it stands.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["tool", "arguments", "words"]

_HEAD = re.compile(r'\s*\{\s*"tool"\s*:\s*(?P<name>"(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*(?=\S)')
_WORDS = re.compile(r'\{\s*"text"\s*:\s*(?=\S)')
_STRING = re.compile(
    r'[^"\\]+|\\["\\/bfnrt]|\\u(?![dD][89abAB])[0-9a-fA-F]{4}'
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
"""Parts of a JSON string that mean something by themselves; a pair of surrogates is one."""
LONGEST_ESCAPE = 12
"""Length of a pair of surrogates; what is longer and still no escape never becomes one."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What was read: the name of a tool, a part of its arguments, or a part of the words."""

    kind: Kind
    text: str


class ToolCallStreamParser:
    """Reads one answer.

    Args:
        reply_tool: Name of the tool that stands for words.
        reply_is_text: The words are a JSON string; else any JSON value, handed on as it is written.
    """

    def __init__(self, reply_tool: str, *, reply_is_text: bool) -> None:
        self._reply_tool = reply_tool
        self._words_are_text = reply_is_text
        self._buffer = ""
        self._state: Literal["head", "words", "string", "value", "plain", "end"] = "head"
        self._kind: Kind = "words"
        self._depth = 0
        self._in_string = False
        self._is_escaped = False

    @property
    def is_call(self) -> bool:
        """Whether it is a tool's call."""
        return self._kind == "arguments"

    def feed(self, text: str) -> list[Piece]:
        """Return what `text`, the next part of the answer, adds."""
        self._buffer += text
        pieces: list[Piece] = []
        while True:
            before = self._state
            piece = self._step()
            if piece is not None and piece.text:
                pieces.append(piece)
            if self._state == before:
                return pieces

    def end(self) -> list[Piece]:
        """Return what was held back, now that the answer is over."""
        rest, self._buffer = self._buffer, ""
        if self._state == "head" and rest.strip():
            return [Piece("words", rest)]
        return []

    def _step(self) -> Piece | None:
        match self._state:
            case "head":
                return self._head()
            case "words":
                if found := _WORDS.match(self._buffer):
                    self._buffer = self._buffer[found.end() :]
                    is_string = self._words_are_text and self._buffer[0] == '"'
                    self._buffer = self._buffer[1:] if is_string else self._buffer
                    self._state = "string" if is_string else "value"
            case "string":
                return Piece("words", self._string())
            case "value":
                return Piece(self._kind, self._value())
            case "plain":
                text, self._buffer = self._buffer, ""
                return Piece("words", text)
        return None

    def _head(self) -> Piece | None:
        if found := _HEAD.match(self._buffer):
            self._buffer = self._buffer[found.end() :]
            name = str(json.loads(found["name"]))
            if name == self._reply_tool:
                self._state = "words"
                return None
            self._state, self._kind = "value", "arguments"
            return Piece("tool", name)
        if self._buffer.lstrip()[:1] not in ("", "{"):
            self._state = "plain"
        return None

    def _string(self) -> str:
        """Take what is whole of a JSON string."""
        parts, position = [], 0
        while position < len(self._buffer):
            found = _STRING.match(self._buffer, position)
            if found:
                parts.append(json.loads(f'"{found[0]}"', strict=False))
                position = found.end()
            elif self._buffer[position] == '"':
                self._state = "end"
                break
            elif len(self._buffer) - position >= LONGEST_ESCAPE:
                parts.append("\ufffd")
                position += 2
            else:
                break
        self._buffer = self._buffer[position:]
        return "".join(parts)

    def _value(self) -> str:
        """Take a JSON value up to its end, as it is written."""
        for position, character in enumerate(self._buffer):
            if self._in_string:
                if self._is_escaped:
                    self._is_escaped = False
                elif character == "\\":
                    self._is_escaped = True
                elif character == '"':
                    self._in_string = False
            elif character == '"':
                self._in_string = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]," and self._depth == 0:
                return self._ended(position)
            elif character in "}]":
                self._depth -= 1
                if self._depth == 0:
                    return self._ended(position + 1)
        text, self._buffer = self._buffer, ""
        return text

    def _ended(self, position: int) -> str:
        text = self._buffer[:position]
        self._state, self._buffer = "end", ""
        return text
