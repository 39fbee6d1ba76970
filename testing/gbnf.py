"""Grammars in llama.cpp's notation (GBNF), without a model: does a text fit, and what texts does one allow.

It owns reading the notation (github.com/ggml-org/llama.cpp, grammars/README.md) as far as the converter of
JSON schemas writes it. Tests ask it about the grammar that a real server made of a schema.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from functools import cached_property

_NAME = re.compile(r"[A-Za-z0-9-]+")
_TIMES = re.compile(r"\{(\d+)(,(\d*))?\}")
_ESCAPES = {"t": "\t", "r": "\r", "n": "\n"}
_HEX = {"x": 2, "u": 4, "U": 8}


@dataclass(frozen=True)
class Chars:
    """One character of a set, or of all but a set."""

    ranges: tuple[tuple[int, int], ...]
    is_negated: bool = False

    def has(self, character: str) -> bool:
        """Return whether a character is one of them."""
        return any(low <= ord(character) <= high for low, high in self.ranges) != self.is_negated


@dataclass(frozen=True)
class Ref:
    """Another rule."""

    name: str


@dataclass(frozen=True)
class Seq:
    """One after the other."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Alt:
    """One of them."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Repeat:
    """Several times; `most` is -1 without a limit."""

    part: Node
    least: int
    most: int


Node = Chars | Ref | Seq | Alt | Repeat


@dataclass
class Grammar:
    """A grammar.

    Args:
        text: As it is written.
    """

    text: str
    _ends: dict[tuple[int, int], frozenset[int]] = field(default_factory=dict)
    _matched: str = ""

    @cached_property
    def rules(self) -> dict[str, Node]:
        """The rules by name."""
        found = {}
        for line in self.text.splitlines():
            name, separator, body = line.partition(" ::= ")
            assert separator, f"no rule: {line!r}"
            found[name] = _Reader(body).whole()
        return found

    def fits(self, rule: str, text: str) -> bool:
        """Return whether a rule allows a text."""
        self._matched, self._ends = text, {}
        return len(text) in self._ends_of(self.rules[rule], 0)

    def sample(self, rule: str, chance: random.Random, depth: int = 24) -> str:
        """Return a text that a rule allows, made by chance; the deeper, the sooner it ends."""
        return self._made(self.rules[rule], chance, depth)

    def _ends_of(self, node: Node, start: int) -> frozenset[int]:
        key = (id(node), start)
        if key not in self._ends:
            self._ends[key] = self._found(node, start)
        return self._ends[key]

    def _found(self, node: Node, start: int) -> frozenset[int]:
        match node:
            case Chars():
                fits = start < len(self._matched) and node.has(self._matched[start])
                return frozenset({start + 1} if fits else ())
            case Ref(name):
                return self._ends_of(self.rules[name], start)
            case Alt(parts):
                return frozenset().union(*(self._ends_of(part, start) for part in parts))
            case Seq(parts):
                here = frozenset({start})
                for part in parts:
                    here = frozenset().union(*(self._ends_of(part, at) for at in here))
                return here
            case Repeat(part, least, most):
                here, found, times = frozenset({start}), frozenset[int](), 0
                while here:
                    if times >= least:
                        here -= found
                        found |= here
                    if times == most:
                        break
                    here = frozenset().union(*(self._ends_of(part, at) for at in here))
                    times += 1
                return found

    def _made(self, node: Node, chance: random.Random, depth: int) -> str:
        match node:
            case Chars():
                return _a_character(node, chance)
            case Ref(name):
                return self._made(self.rules[name], chance, depth - 1)
            case Alt(parts):
                part = (
                    chance.choice(parts)
                    if depth > 0
                    else min(parts, key=lambda one: _weight(one, self.rules))
                )
                return self._made(part, chance, depth)
            case Seq(parts):
                return "".join(self._made(part, chance, depth) for part in parts)
            case Repeat(part, least, most):
                limit = least if depth <= 0 else least + 2 if most < 0 else most
                times = chance.randint(least, min(limit, least + 3))
                return "".join(self._made(part, chance, depth) for _ in range(times))


def _weight(node: Node, rules: dict[str, Node], depth: int = 0) -> int:
    """Return how much a part makes at least, roughly; what is deep counts as much."""
    if depth > 8:
        return 1000
    match node:
        case Chars():
            return 1
        case Ref(name):
            return 1 + _weight(rules[name], rules, depth + 1)
        case Alt(parts):
            return min(_weight(part, rules, depth + 1) for part in parts)
        case Seq(parts):
            return sum(_weight(part, rules, depth + 1) for part in parts)
        case Repeat(part, least, _):
            return least * _weight(part, rules, depth + 1)


def _a_character(node: Chars, chance: random.Random) -> str:
    if not node.is_negated:
        low, high = chance.choice(node.ranges)
        return chr(chance.randint(low, min(high, low + 200)))
    while True:
        character = chr(chance.choice((chance.randint(0x20, 0x7E), chance.randint(0xA0, 0x2FF))))
        if node.has(character):
            return character


class _Reader:
    """Reads the right side of a rule."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def whole(self) -> Node:
        node = self._alternatives()
        assert self._at == len(self._text), f"not read: {self._text[self._at :]!r}"
        return node

    def _alternatives(self) -> Node:
        parts = [self._sequence()]
        while self._takes("|"):
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else Alt(tuple(parts))

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while True:
            self._skip()
            if self._at >= len(self._text) or self._text[self._at] in "|)":
                return Seq(tuple(parts))
            if self._text[self._at] == '"':
                *before, last = self._literal() or [Seq(())]
                # A repetition is of the whole literal.
                parts.append(self._repeated(Seq((*before, last))))
            else:
                parts.append(self._repeated(self._atom()))

    def _atom(self) -> Node:
        if self._takes("("):
            node = self._alternatives()
            assert self._takes(")"), f"no ) in {self._text!r}"
            return node
        if self._takes("["):
            return self._class()
        found = _NAME.match(self._text, self._at)
        assert found, f"not known: {self._text[self._at :]!r}"
        self._at = found.end()
        return Ref(found[0])

    def _literal(self) -> list[Node]:
        self._at += 1
        parts: list[Node] = []
        while self._text[self._at] != '"':
            code = ord(self._character())
            parts.append(Chars(((code, code),)))
        self._at += 1
        return parts

    def _class(self) -> Chars:
        is_negated = self._takes("^")
        ranges = []
        while self._text[self._at] != "]":
            low = high = ord(self._character())
            if self._text[self._at] == "-" and self._text[self._at + 1] != "]":
                self._at += 1
                high = ord(self._character())
            ranges.append((low, high))
        self._at += 1
        return Chars(tuple(ranges), is_negated)

    def _character(self) -> str:
        character = self._text[self._at]
        self._at += 1
        if character != "\\":
            return character
        letter = self._text[self._at]
        self._at += 1
        if letter in _HEX:
            digits = self._text[self._at : self._at + _HEX[letter]]
            self._at += len(digits)
            return chr(int(digits, 16))
        assert letter in '\\"[]-' or letter in _ESCAPES, f"no escape: \\{letter}"
        return _ESCAPES.get(letter, letter)

    def _repeated(self, node: Node) -> Node:
        while self._at < len(self._text):
            if found := _TIMES.match(self._text, self._at):
                self._at = found.end()
                least = int(found[1])
                node = Repeat(node, least, least if found[2] is None else int(found[3] or -1))
            elif self._text[self._at] in "*+?":
                sign = self._text[self._at]
                self._at += 1
                node = Repeat(node, int(sign == "+"), 1 if sign == "?" else -1)
            else:
                break
        return node

    def _takes(self, sign: str) -> bool:
        self._skip()
        if not self._text.startswith(sign, self._at):
            return False
        self._at += 1
        return True

    def _skip(self) -> None:
        while self._text.startswith(" ", self._at):
            self._at += 1
