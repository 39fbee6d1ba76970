r"""Regular expressions of JSON schemas, put so that llama.cpp's converter keeps to them exactly.

It owns reading an expression (ECMA-262, which JSON Schema refers to) and writing it as the texts of JSON
that it allows. The converter (github.com/ggml-org/llama.cpp, common/json-schema-to-grammar.cpp,
`_pattern_to_rule`) takes an expression for the bytes between two quotation marks: `.` may close the string
there, `\\` writes half an escape, and what it cannot express it lets be any text. So every character is
written out here, those that JSON escapes as their escapes, and what remains outside is refused.

Not here: which keywords of a schema are enforced; that is `translate`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipecatapp.gateway.json_schema.char_ranges import (
    ALL,
    CLASSES,
    LAST,
    LINE_ENDS,
    Ranges,
    is_one,
    joined,
    without,
)

MAX_TIMES = 2000
"""Highest number of a repetition: above it the grammar's reader refuses, or forgets the limit
(src/llama-grammar.cpp, `MAX_REPETITION_THRESHOLD`)."""
MAX_DEPTH = 30
"""Groups inside groups; the converter takes any text for one with more than a hundred, and each level here
becomes up to three there."""
MAX_CHARS = 4000
"""Longest expression."""
_CONTROLS = {"t": 0x09, "n": 0x0A, "v": 0x0B, "f": 0x0C, "r": 0x0D, "0": 0x00}
_ESCAPES = {0x08: "b", 0x09: "t", 0x0A: "n", 0x0C: "f", 0x0D: "r", 0x22: r"\x22", 0x5C: r"\x5C"}
r"""Characters that a JSON string has only as `\` and one more (RFC 8259, section 7): that one, as the
converter reads it."""
_UNWRITTEN: Ranges = ((0, 0x1F), (0x22, 0x22), (0x5C, 0x5C), (0x7F, 0x7F), (0xD800, 0xDFFF))
"""What no JSON string has as it is; DEL it may, and the converter's own strings leave it out."""
_GROUPS = {"?=": "a lookahead", "?!": "a lookahead", "?<=": "a lookbehind", "?<!": "a lookbehind"}
_NAMED = re.compile(r"\?P?<[A-Za-z_$][\w$]*>")
_TIMES = re.compile(r"\{(\d+)(,(\d*))?\}")
_PLAIN = re.compile(r"[A-Za-z0-9]")


class PatternError(ValueError):
    """An expression that cannot be enforced; the message says what in it, in words that follow a colon."""


@dataclass(frozen=True, slots=True)
class _Chars:
    """One character of a set."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class _Sequence:
    """One after the other."""

    parts: tuple[_Node, ...]
    begins: bool = False
    ends: bool = False
    """Whether `^` and `$` stand at its ends."""


@dataclass(frozen=True, slots=True)
class _Choice:
    """One of them."""

    branches: tuple[_Sequence, ...]


@dataclass(frozen=True, slots=True)
class _Repeat:
    """A part several times; `most` is None without a limit."""

    part: _Node
    least: int
    most: int | None


_Node = _Chars | _Choice | _Repeat


def json_pattern(pattern: str) -> str:
    r"""Return an expression, anchored at both ends, for the JSON texts of the strings that match `pattern`.

    Args:
        pattern: As a schema has it: found anywhere in the string unless it is anchored.

    Raises:
        PatternError: It is wrong, or there is something in it that no grammar keeps to.
    """
    if len(pattern) > MAX_CHARS:
        raise PatternError(f"it has more than {MAX_CHARS} characters")
    anything = _Repeat(_Chars(ALL), 0, None)
    branches = []
    for branch in _Reader(pattern).read().branches:
        before = () if branch.begins else (anything,)
        after = () if branch.ends else (anything,)
        branches.append(_Sequence((*before, *branch.parts, *after)))
    # An anchor that is left out makes `a|b*` of `b*`, which begins and ends with anything: once is enough.
    return f"^{_written_choice(_Choice(tuple(branches)))}$"


class _Reader:
    """Reads one expression.

    Args:
        pattern: The expression.
    """

    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 0
        self._depth = 0

    def read(self) -> _Choice:
        """Return what the whole expression means.

        Raises:
            PatternError: As for `json_pattern`.
        """
        choice = self._choice()
        if self._at < len(self._text):
            raise self._wrong("a `)` without its `(`")
        return choice

    def _choice(self) -> _Choice:
        branches = [self._sequence()]
        while self._takes("|"):
            branches.append(self._sequence())
        return _Choice(tuple(branches))

    def _sequence(self) -> _Sequence:
        is_top = self._depth == 0
        begins = is_top and self._takes("^")
        ends = False
        parts: list[_Node] = []
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            if self._text[self._at] in "^$":
                following = self._text[self._at + 1 : self._at + 2]
                if not (is_top and self._text[self._at] == "$" and following in ("", "|")):
                    raise self._wrong("an anchor elsewhere than at an end")
                self._at += 1
                ends = True
                break
            parts.append(self._repeated(self._atom()))
        return _Sequence(tuple(parts), begins, ends)

    def _repeated(self, part: _Node) -> _Node:
        sign = self._text[self._at : self._at + 1]
        if sign in ("*", "+", "?") and sign:
            self._at += 1
            least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}[sign]
        elif found := _TIMES.match(self._text, self._at):
            least = int(found[1])
            most = least if found[2] is None else int(found[3]) if found[3] else None
            if max(least, most or 0) > MAX_TIMES:
                raise self._wrong(f"a repetition of more than {MAX_TIMES} times")
            if most is not None and most < least:
                raise self._wrong("a repetition whose numbers are in the wrong order")
            self._at = found.end()
        else:
            return part
        self._takes("?")  # how eager it is changes what is found first, not what matches
        if self._text[self._at : self._at + 1] in ("*", "+", "?") and self._at < len(self._text):
            raise self._wrong("a repetition of a repetition")
        return _Repeat(part, least, most)

    def _atom(self) -> _Node:
        character = self._text[self._at]
        if character == "(":
            return self._group()
        if character == "[":
            return _Chars(self._class())
        if character == ".":
            self._at += 1
            return _Chars(without(ALL, LINE_ENDS))
        if character in "*+?" or _TIMES.match(self._text, self._at):
            raise self._wrong("nothing to repeat")
        if character == "\\":
            return _Chars(self._escape(in_class=False))
        self._at += 1
        return _Chars(((ord(character), ord(character)),))

    def _group(self) -> _Node:
        start = self._at
        self._at += 1
        if self._takes("?:") or self._takes_named():
            pass
        elif self._text.startswith("?", self._at):
            for sign, name in sorted(_GROUPS.items(), reverse=True):
                if self._text.startswith(sign, self._at):
                    self._at = start
                    raise self._wrong(f"{name}, `({sign}`")
            self._at = start
            raise self._wrong(f"a group of a kind that is not known, `{self._text[start : start + 3]}`")
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._wrong(f"groups in more than {MAX_DEPTH} levels")
        choice = self._choice()
        self._depth -= 1
        if not self._takes(")"):
            self._at = start
            raise self._wrong("a `(` without its `)`")
        return choice

    def _class(self) -> Ranges:
        start = self._at
        self._at += 1
        is_negated = self._takes("^")
        found: list[tuple[int, int]] = []
        while not self._takes("]"):
            if self._at >= len(self._text):
                self._at = start
                raise self._wrong("a `[` without its `]`")
            low = self._class_item()
            is_range = self._text.startswith("-", self._at) and not self._text.startswith("-]", self._at)
            if not is_range:
                found += low
                continue
            self._at += 1
            if self._at >= len(self._text):
                continue
            high = self._class_item()
            if not (is_one(low) and is_one(high)):
                raise self._wrong("a range in a class whose ends are no characters")
            if low[0][0] > high[0][0]:
                raise self._wrong("a range in a class that ends before it begins")
            found.append((low[0][0], high[0][0]))
        ranges = joined(found)
        return without(ALL, ranges) if is_negated else ranges

    def _class_item(self) -> Ranges:
        character = self._text[self._at]
        if character == "\\":
            return self._escape(in_class=True)
        self._at += 1
        return ((ord(character), ord(character)),)

    def _escape(self, *, in_class: bool) -> Ranges:
        letter = self._text[self._at + 1 : self._at + 2]
        if not letter:
            raise self._wrong("a `\\` at its end")
        if letter.lower() in CLASSES:
            self._at += 2
            ranges = CLASSES[letter.lower()]
            return ranges if letter.islower() else without(ALL, ranges)
        if letter == "0" and self._text[self._at + 2 : self._at + 3].isdigit():
            raise self._wrong("an octal escape")
        if letter in _CONTROLS or (letter == "b" and in_class):
            self._at += 2
            code = _CONTROLS.get(letter, 0x08)
        elif letter in "xu":
            code = self._hexadecimal(letter)
        elif letter == "c" and re.match("[A-Za-z]", self._text[self._at + 2 : self._at + 3]):
            code = ord(self._text[self._at + 2]) % 32
            self._at += 3
        elif letter.isdigit() or letter == "k":
            raise self._wrong(f"a reference back to a group, `\\{letter}`")
        elif letter in "bB":
            raise self._wrong(f"a word boundary, `\\{letter}`")
        elif letter in "pP":
            raise self._wrong(f"a Unicode property, `\\{letter}`")
        elif letter.isalpha():
            raise self._wrong(f"an escape that is not known, `\\{letter}`")
        else:
            code = ord(letter)
            self._at += 2
        return ((code, code),)

    def _hexadecimal(self, letter: str) -> int:
        rest = self._text[self._at + 2 :]
        pattern = r"([0-9A-Fa-f]{2})" if letter == "x" else r"([0-9A-Fa-f]{4})|\{([0-9A-Fa-f]{1,6})\}"
        found = re.match(pattern, rest)
        code = int(next(filter(None, found.groups())), 16) if found else LAST + 1
        if not found or code > LAST:
            raise self._wrong(f"an escape `\\{letter}` without its digits")
        self._at += 2 + found.end()
        if 0xD800 <= code < 0xDC00:
            pair = re.match(r"\\u([Dd][C-Fc-f][0-9A-Fa-f]{2})", self._text[self._at :])
            if pair:
                self._at += pair.end()
                return 0x10000 + ((code - 0xD800) << 10) + int(pair[1], 16) - 0xDC00
        return code

    def _takes(self, text: str) -> bool:
        if not self._text.startswith(text, self._at):
            return False
        self._at += len(text)
        return True

    def _takes_named(self) -> bool:
        found = _NAMED.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return found is not None

    def _wrong(self, what: str) -> PatternError:
        return PatternError(f"there is {what}, at character {self._at + 1}")


def _written(node: _Node) -> str:
    match node:
        case _Chars(ranges):
            return _written_chars(ranges)
        case _Repeat(part, least, most):
            return _written_repeat(_written(part), least, most)
        case _Choice():
            return _written_choice(node)


def _written_choice(choice: _Choice) -> str:
    written = ["".join(map(_written, branch.parts)) for branch in choice.branches]
    some = [text for text in dict.fromkeys(written) if text]
    if not some:
        return ""
    together = f"(?:{'|'.join(some)})"
    return together if len(some) == len(set(written)) else f"(?:{together}?)"


def _written_repeat(part: str, least: int, most: int | None) -> str:
    """Return a repetition; `{n,}` is written as n times and then any number of times."""
    if not part or most == 0:
        return ""
    # In a group of its own, or the converter repeats more than the last character.
    group = f"(?:{part})"
    if most is not None:
        return f"{group}?" if (least, most) == (0, 1) else f"{group}{{{least},{most}}}"
    if least < 2:
        return f"{group}{'*' if least == 0 else '+'}"
    return f"{group}{{{least},{least}}}{group}*"


def _written_chars(ranges: Ranges) -> str:
    """Return a character of a set as JSON has it.

    Raises:
        PatternError: None of them can be written.
    """
    escaped = "".join(
        letter for code, letter in _ESCAPES.items() if any(low <= code <= high for low, high in ranges)
    )
    plain = without(ranges, _UNWRITTEN)
    if not plain and not escaped:
        raise PatternError("there is a character in it, or a class of them, that an answer cannot have")
    found = []
    if plain:
        found.append(_escaped(plain[0][0]) if is_one(plain) else f"[{''.join(map(_range, plain))}]")
    if escaped:
        found.append(rf"\x5C[{escaped}]")
    return found[0] if len(found) == 1 and not escaped else f"(?:{'|'.join(found)})"


def _range(ends: tuple[int, int]) -> str:
    low, high = ends
    return _escaped(low) if low == high else f"{_escaped(low)}-{_escaped(high)}"


def _escaped(code: int) -> str:
    """Return a character as the grammar's own escape, unless it is a letter or a digit."""
    if code < 0x80 and _PLAIN.match(chr(code)):
        return chr(code)
    if code <= 0xFF:
        return f"\\x{code:02X}"
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"
