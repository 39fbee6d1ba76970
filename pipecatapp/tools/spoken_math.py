"""Arithmetic as people say it, turned into an expression.

It owns the words and their grammar; the value is `arithmetic`'s. It reads a phrase whole or not at all,
so that what is only partly arithmetic is never half answered.

    sum     := product (("plus" | "+" | "minus" | "-") product)*
    product := power (("times" | "*" | "x" | "divided by" | "/" | "over" | "modulo") power)*
    power   := prefix ("squared" | "cubed" | "to the power of" prefix | "to the" ordinal
                      | "percent of" power | "percent off" power)*
    prefix  := "minus" prefix | "half of" power | "the square root of" prefix | "the sum of" sum "and" sum
             | "add" sum "and" sum | "(" sum ")" | function "(" sum, ... ")" | number
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pipecatapp.tools.number_words import ORDINALS, read_cardinal

MAX_SAID_CHARS = 400
"""Longest request that is looked at: twice the longest expression, for the words around it."""

_TOKEN = re.compile(
    r"\s*(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+|[a-z]+"
    r"|\*\*|//|[-+*/^%(),]|\N{MULTIPLICATION SIGN}|\N{DIVISION SIGN})"
)
_LEAD = re.compile(
    r"(?:(?:hey|hi|hello|okay|ok|so|and|well|please|twin|now)[, ]+)*"
    r"(?:(?:can|could|would) you (?:please )?)?(?:tell me |do you know )?"
    r"(?:(?:what(?:'s| is|s| are| does| do)?|how (?:much|many)(?: is| are)?|calculate|compute|evaluate"
    r"|work out|solve|figure out|the result of) )+"
)
_TAIL = re.compile(r"(?:[?!.,= ]|\b(?:equals?(?: to)?|make|please|is|give)\b)+$")
_TYPED = re.compile(r"[\d ]+(?:[-/][\d ]+)+")
"""Digits with only dashes or slashes between, such as a date or a telephone number."""
_SYMBOLS: Mapping[str, str] = {
    "**": "to the power of",
    "//": "whole divided by",
    "*": "times",
    "\N{MULTIPLICATION SIGN}": "times",
    "/": "divided by",
    "\N{DIVISION SIGN}": "divided by",
    "+": "plus",
    "-": "minus",
    "^": "to the power of",
    "%": "percent",
}
_SUMS = {"+": "+", "plus": "+", "-": "-", "minus": "-", "less": "-"}
_PRODUCTS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("multiplied", "by"), "*"),
    (("divided", "by"), "/"),
    (("times",), "*"),
    (("x",), "*"),
    (("*",), "*"),
    (("\N{MULTIPLICATION SIGN}",), "*"),
    (("over",), "/"),
    (("//",), "//"),
    (("/",), "/"),
    (("\N{DIVISION SIGN}",), "/"),
    (("modulo",), "%"),
    (("mod",), "%"),
)
_PARTS = {"half": 2, "third": 3, "quarter": 4, "fifth": 5, "tenth": 10}
_MULTIPLES = {"twice": 2, "double": 2, "triple": 3}
_OF_TWO = {"sum": "+", "product": "*", "difference": "-", "quotient": "/"}
_FUNCTIONS = frozenset({"sqrt", "round", "min", "max", "abs", "percent"})


class NotSpokenMath(Exception):
    """The phrase is not arithmetic from its first word to its last."""


def find_phrase(text: str) -> str | None:
    """Return the arithmetic that `text` surely asks for, without the words around it, else None."""
    if len(text) > MAX_SAID_CHARS:
        return None
    said = _plain(text)
    lead = _LEAD.match(said)
    phrase = _TAIL.sub("", said[lead.end() :] if lead else said)
    if not phrase or (lead is None and _TYPED.fullmatch(phrase)):
        return None
    try:
        reader = _Reader(phrase)
        reader.read()
    except (NotSpokenMath, RecursionError):
        return None
    return phrase if reader.operations else None


def to_expression(phrase: str) -> str:
    """Return `phrase`, spoken or written, as an expression that `arithmetic.evaluate` reads.

    Raises:
        NotSpokenMath: It is not arithmetic from its first word to its last.
    """
    return _Reader(_TAIL.sub("", _plain(phrase))).read()


def speak_expression(phrase: str) -> str:
    """Return a phrase with its symbols as words, for a voice."""
    spaced = re.sub(r"(?<=\w)-(?=[a-z])", " ", _TAIL.sub("", _plain(phrase)))
    for symbol, word in _SYMBOLS.items():
        spaced = spaced.replace(symbol, f" {word} ")
    spaced = re.sub(r"(?<=\d) x (?=\d)", " times ", spaced)
    return " ".join(spaced.split())


def _plain(text: str) -> str:
    said = text.casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").replace("\N{MINUS SIGN}", "-")
    return " ".join(said.split())


def _tokens(phrase: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z])-(?=[a-z])", " ", phrase)
    tokens: list[str] = []
    at = 0
    while at < len(spaced):
        match = _TOKEN.match(spaced, at)
        if match is None:
            raise NotSpokenMath
        tokens.append(match.group(1))
        at = match.end()
    return tokens


class _Reader:
    def __init__(self, phrase: str) -> None:
        self._left = _tokens(phrase)
        self.operations = 0

    def read(self) -> str:
        expression = self._sum()
        if self._left:
            raise NotSpokenMath
        return expression

    def _sum(self) -> str:
        value = self._product()
        while self._left and self._left[0] in _SUMS:
            operator = _SUMS[self._left.pop(0)]
            value = self._join(value, operator, self._product())
        return value

    def _product(self) -> str:
        value = self._power()
        while operator := self._take_operator():
            value = self._join(value, operator, self._power())
        return value

    def _take_operator(self) -> str:
        for words, operator in _PRODUCTS:
            if self._take(*words):
                return operator
        return ""

    def _power(self) -> str:
        value = self._prefix()
        while self._left:
            if self._take("squared"):
                value = self._join(value, "**", "2")
            elif self._take("cubed"):
                value = self._join(value, "**", "3")
            elif self._take("to", "the", "power", "of") or self._take("to", "the", "power"):
                value = self._join(value, "**", self._prefix())
            elif self._take("^") or self._take("**"):
                value = self._join(value, "**", self._power())
            elif self._left[:2] == ["to", "the"]:
                value = self._join(value, "**", self._ordinal_power())
            elif self._take("percent") or self._take("per", "cent") or self._take("%"):
                value = self._percentage(value)
            else:
                break
        return value

    def _percentage(self, value: str) -> str:
        self.operations += 1
        if self._take("of"):
            return f"percent({value}, {self._power()})"
        if self._take("off"):
            whole = self._power()
            return f"({whole} - percent({value}, {whole}))"
        return f"({value} / 100)"

    def _ordinal_power(self) -> str:
        del self._left[:2]
        word = self._next()
        if word.isdigit() and self._left and self._left[0] in ("st", "nd", "rd", "th"):
            self._left.pop(0)
            exponent = word
        elif word in ORDINALS:
            exponent = str(ORDINALS[word])
        else:
            raise NotSpokenMath
        self._take("power")
        return exponent

    def _prefix(self) -> str:
        if self._take("-") or self._take("minus") or self._take("negative"):
            return f"(-{self._prefix()})"
        if self._take("+"):
            return self._prefix()
        if self._take("("):
            value = self._sum()
            self._need(")")
            return f"({value})"
        self._take("the")
        for read in (self._command, self._part, self._function):
            if (found := read()) is not None:
                return found
        return self._number()

    def _command(self) -> str | None:
        """Read "add 5 and 6", "the product of 2 and 3" and their like."""
        for verb, words, operator, is_swapped in (
            ("add", ("and", "to"), "+", False),
            ("subtract", ("from",), "-", True),
            ("multiply", ("by", "and", "with"), "*", False),
            ("divide", ("by",), "/", False),
        ):
            if self._take(verb):
                left, right = self._two(words)
                return self._join(right, operator, left) if is_swapped else self._join(left, operator, right)
        if self._left and self._left[0] in _OF_TWO:
            operator = _OF_TWO[self._left.pop(0)]
            if not (self._take("of") or self._take("between")):
                raise NotSpokenMath
            left, right = self._two(("and",))
            return self._join(left, operator, right)
        return None

    def _two(self, words: tuple[str, ...]) -> tuple[str, str]:
        left = self._sum()
        if not any(self._take(word) for word in words):
            raise NotSpokenMath
        return left, self._sum()

    def _part(self) -> str | None:
        """Read "half of", "a third of", "twice", "square root of"."""
        if self._take("square", "root", "of"):
            self.operations += 1
            return f"sqrt({self._prefix()})"
        skipped = 1 if self._left[:1] in (["a"], ["one"]) else 0
        word = self._left[skipped] if len(self._left) > skipped else ""
        if word in _PARTS:
            del self._left[: skipped + 1]
            self._need("of")
            return self._join(self._power(), "/", str(_PARTS[word]))
        if word in _MULTIPLES and not skipped:
            self._left.pop(0)
            return self._join(str(_MULTIPLES[word]), "*", self._power())
        return None

    def _function(self) -> str | None:
        if not (len(self._left) > 1 and self._left[0] in _FUNCTIONS and self._left[1] == "("):
            return None
        name = self._next()
        self._need("(")
        values = [self._sum()]
        while self._take(","):
            values.append(self._sum())
        self._need(")")
        self.operations += 1
        return f"{name}({', '.join(values)})"

    def _number(self) -> str:
        digits, used = read_cardinal(self._left)
        if used:
            del self._left[:used]
        else:
            digits = self._next()
            if digits[0] not in ".0123456789":
                raise NotSpokenMath
            digits = digits.replace(",", "").lstrip("0") or "0"
            digits = f"0{digits}" if digits.startswith(".") else digits
            if self._left and self._left[0] in ("hundred", "thousand", "million", "billion"):
                return self._scaled(digits)
        return f"({digits} + 0.5)" if self._take("and", "a", "half") else digits

    def _scaled(self, digits: str) -> str:
        scales = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9}
        return f"({digits} * {scales[self._next()]})"

    def _join(self, left: str, operator: str, right: str) -> str:
        self.operations += 1
        return f"({left} {operator} {right})"

    def _take(self, *words: str) -> bool:
        if tuple(self._left[: len(words)]) != words:
            return False
        del self._left[: len(words)]
        return True

    def _need(self, word: str) -> None:
        if not self._take(word):
            raise NotSpokenMath

    def _next(self) -> str:
        if not self._left:
            raise NotSpokenMath
        return self._left.pop(0)
