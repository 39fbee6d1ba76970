"""Numbers in English words.

It owns how one number is said: as a count, in order, as a year, digit by digit, as a part. Which of them a
number in a text is, is the rules' (`english_times`, `english_quantities`).
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

NUMBER = (
    r"(?:\d{1,3}(?:,\d{2,3})+(?!\d)|\d{1,3}(?:[\u00a0\u2009\u202f]\d{3})+"
    r"|\d{1,3}(?: \d{3})*(?: 000)+(?!\d)|\d+)(?:\.\d+)?|(?<![\w.])\.\d+"
)
"""A number as it is written, without its sign."""
VULGAR = "\u00bd\u2153\u2154\u00bc\u00be\u2155\u2156\u2157\u2158\u2159\u215a\u215b\u215c\u215d\u215e"
"""One half, one third and so on, as single characters."""
MAX_COUNTED_DIGITS = 15
"""A longer number is no count; it is said digit by digit."""
_GROUPING = re.compile(r"[, \u00a0\u2009\u202f]")


@lru_cache(maxsize=4096)
def cardinal(value: int) -> str:
    """Return a count: 1250 is "one thousand two hundred and fifty"."""
    return _library(value, "cardinal").replace(",", "")


@lru_cache(maxsize=1024)
def ordinal(value: int) -> str:
    """Return a place in an order: 21 is "twenty-first"."""
    return _library(value, "ordinal").replace(",", "")


@lru_cache(maxsize=1024)
def year(value: int) -> str:
    """Return a year after Christ: 1806 is "eighteen oh six", 2024 "twenty twenty-four"."""
    return _library(value, "year").replace("oh-", "oh ") if value >= 1000 else cardinal(value)


def digits(text: str) -> str:
    """Return the digits in `text`, one by one."""
    return " ".join(cardinal(int(digit)) for digit in text if digit.isdecimal())


def number(text: str) -> str:
    """Return a number of the form `NUMBER`: "1,234.50" is "one thousand ... point five zero"."""
    whole, _, decimals = _GROUPING.sub("", text).partition(".")
    is_code = len(whole) > MAX_COUNTED_DIGITS or (len(whole) > 1 and whole.startswith("0"))
    words = [] if not whole else [digits(whole) if is_code else cardinal(int(whole))]
    if decimals:
        words += ["point", digits(decimals)]
    return " ".join(words)


def part(numerator: int, denominator: int) -> str:
    """Return a fraction: 3 of 4 is "three quarters". `denominator` is > 1."""
    names = {2: "half", 4: "quarter"}
    name = names.get(denominator) or ordinal(denominator)
    if numerator != 1:
        name = "halves" if denominator == 2 else f"{name}s"
    return f"{cardinal(numerator)} {name}"


def vulgar(character: str) -> tuple[int, int]:
    """Return numerator and denominator of one of `VULGAR`."""
    above, _, below = unicodedata.normalize("NFKC", character).partition("\N{FRACTION SLASH}")
    return int(above), int(below)


def mixed(whole: int, numerator: int, denominator: int) -> str:
    """Return a whole number and a fraction: "two and a half", "three and two thirds"."""
    below = part(numerator, denominator)
    below = f"a {below.removeprefix('one ')}" if numerator == 1 else below
    return f"{cardinal(whole)} and {below}"


def _library(value: int, kind: str) -> str:
    # It loads all its languages at its import, a quarter of a second.
    from num2words import num2words

    return str(num2words(value, lang="en", to=kind))
