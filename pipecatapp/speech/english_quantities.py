"""Amounts in English: money, measures, parts, ranges, sums.

It owns what a sign or a unit beside a number is called; how a number is said is `english_numbers`'.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pipecatapp.speech.english_numbers import (
    NUMBER,
    VULGAR,
    cardinal,
    digits,
    mixed,
    number,
    ordinal,
    part,
    vulgar,
)
from pipecatapp.speech.english_units import CURRENCIES, PER, UNITS
from pipecatapp.speech.rules import Rule, rule

_N = rf"(?:{NUMBER})"
_TO = r"\s?[-\u2013\u2014]\s?"
_SIGN = r"(?:(?<![\w)\]%\u00b0])[-\u2212+\u00b1~\u2248]\s?(?=[\d.$\u20ac\u00a3]))"
_PARTS = (
    rf"(?:\d+[\s\u00a0]?[{VULGAR}]|[{VULGAR}]|\d+\s\d{{1,2}}/\d{{1,2}}(?![\d/])|\d{{1,2}}/\d{{1,2}}(?![\d/]))"
)
_AMOUNT = rf"(?<![\w.,/])(?P<sign>{_SIGN})?(?P<amount>{_PARTS}|{_N}(?:(?:{_TO}|\sto\s){_SIGN}?{_N})?)"
_SIGNS = {
    "-": "minus ",
    "\u2212": "minus ",
    "+": "plus ",
    "\u00b1": "plus or minus ",
    "~": "about ",
    "\u2248": "about ",
}
_SCALES = {
    **{"k": "thousand", "K": "thousand", "m": "million", "M": "million", "mn": "million", "bn": "billion"},
    **{"b": "billion", "B": "billion", "tn": "trillion", "T": "trillion", "mio": "million"},
}
_SCALE = r"(?P<scale>(?:k|K|mn|m|M|bn|b|B|tn|T)\b|\s(?:thousand|million|billion|trillion|bn|mn|M)\b)"
_OPERATORS = {
    **{
        "+": "plus",
        "-": "minus",
        "\u2212": "minus",
        "*": "times",
        "\u00d7": "times",
        "x": "times",
        "/": "divided by",
    },
    **{
        "\u00f7": "divided by",
        "=": "equals",
        "<": "is less than",
        ">": "is greater than",
        "^": "to the power of",
    },
    **{
        "\u2264": "is at most",
        "\u2265": "is at least",
        "\u2260": "is not",
        "\u2248": "is about",
        "\u00b7": "times",
    },
    **{
        "\u2013": "to",
        "**": "to the power of",
        "<=": "is at most",
        ">=": "is at least",
        "!=": "is not",
        "==": "equals",
    },
}
_SUPERSCRIPTS = str.maketrans(
    "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b", "0123456789-"
)


def money_rules() -> list[Rule]:
    """Return the rules of amounts of money."""
    marks = "|".join(re.escape(mark) for mark in by_length(CURRENCIES) if not mark.isalpha())
    codes = "|".join(mark for mark in CURRENCIES if mark.isalpha())
    amount = rf"(?P<a>{_N})(?:{_TO}(?:{marks})?(?P<b>{_N}))?{_SCALE}?"
    per = rf"(?:/(?P<per>{_choice(PER)})\b)?"
    thing = (
        r"(?P<one>(?=[-\s](?:bill|note|coin|gift|voucher|check|cheque|fine|fee|loan|deposit|discount)\b))?"
    )
    coins = {"d": "$", "e": "\u20ac", "p": "\u00a3"}
    return [
        rule(rf"(?P<sign>{_SIGN})?(?<!\w)(?P<mark>{marks})\s?{amount}{per}{thing}(?!\d)", _money),
        rule(
            rf"(?<![\w.,/])(?P<sign>{_SIGN})?{amount}\s?(?P<mark>{marks}|(?:{codes})\b){per}(?!\w)",
            _money,
        ),
        rule(rf"(?<!\w)(?P<mark>{codes})\s?{amount}", _money),
        rule(
            r"(?<![\w.,/])(?P<a>\d+\.\d\d)\s(?P<name>dollars|euros|pounds)\b",
            lambda m: _amount(m["a"], coins[m["name"][0]]),
        ),
        rule(
            rf"(?<![\w.,/])(?P<a>{_N})\s?(?:\u00a2|ct\b)",
            lambda m: f"{number(m['a'])} {'cent' if m['a'] == '1' else 'cents'}",
        ),
        rule(r"(?<!\w)(?P<lines>480|720|1080|1440|2160)p\b", lambda m: f"{number(m['lines'])} P"),
        rule(rf"(?<![\w.,/])(?P<a>{_N})p\b", lambda m: f"{number(m['a'])} pence"),
    ]


def measure_rules() -> list[Rule]:
    """Return the rules of amounts with a unit."""
    per = rf"(?:/(?P<per>{_choice({**PER, **UNITS})}))?"
    unit = rf"(?P<unit>{_choice(UNITS)}){per}(?![\w\u00b2\u00b3/])(?:\.(?=\s+[a-z]))?"
    feet = r"(?<![\w.,/])(?P<feet>\d{1,2})"
    return [
        rule(rf"{feet}\s?['\u2032\u2019]\s?(?P<inches>1[01]|\d)\s?[\"\u2033\u201d]", _feet),
        rule(rf"{feet}\s?ft\.?\s(?P<inches>1[01]|\d)\s?in\b\.?", _feet),
        rule(
            r"(?<![\w.,])(?P<a>\d+(?:\.\d+)?)\s?[\"\u2033\u201d](?=\s(?:TVs?|screens?|displays?|monitors?|pipes?|nails?)\b)",
            lambda m: f"{number(m['a'])} inch",
        ),
        rule(
            r"(?<=[\w%\u00b0)])\s?\u2013\s?(?=[$\u20ac\u00a3]?\d)(?<!\d\u2013)|(?:(?<=[ap]m)|(?<=[AP]M)|(?<=bn))-(?=[$\u20ac\u00a3]?\d)",
            lambda m: "to",
        ),
        rule(rf"{_AMOUNT}(?P<gap>[\s\u00a0\u202f]?|-){unit}", _measure),
    ]


def number_rules() -> list[Rule]:
    """Return the rules of numbers that stand alone, or among other numbers."""
    operator = r"(?:\*\*|[-+*/x\u00d7\u00f7\u2212\u00b7^])"
    return [
        rule(rf"(?<![\w.,])-?{_N}(?:\s*{operator}\s*-?{_N}){{1,9}}\s*=\s*(?:-?{_N}|\?)(?![\w/])", _sum),
        rule(
            r"(?<![\w.,])(?P<a>\d+(?:\.\d+)?)[eE](?P<b>[+-]?\d{1,3})(?!\w)",
            lambda m: f"{number(m['a'])} times ten {_power(m['b'])}",
        ),
        rule(r"(?<![\w.,/])(24/7|9/11|50/50)(?![\w/])", lambda m: _both(m[0], " ")),
        rule(rf"(?<![\w.,/])(?P<amount>{_PARTS})(?!\w)(?P<stars>(?=\s(?:stars?|points?)\b))?", _fraction),
        rule(
            r"(?<![\w.,/])(?P<a>\d+\.\d+)/(?P<b>5|10|20|100)(?![\w/]|\.\d)",
            lambda m: f"{number(m['a'])} out of {number(m['b'])}",
        ),
        rule(r"(?<![\w.,/])(?P<a>\d{1,4})/(?P<b>\d{1,4})(?![\w/])", lambda m: _both(m[0], " over ")),
        rule(r"(?<![\w.,:])(?P<a>\d{1,3}):(?P<b>\d{1,3})(?![\w:])", lambda m: _both(m[0], " to ")),
        rule(r"(?<![\w.,])(?P<n>\d{1,3}(?:,\d{3})+|\d+)(?:st|nd|rd|th)\b", lambda m: ordinal(_whole(m["n"]))),
        rule(
            r"(?<![\w.])v?\d{1,4}(?:\.\d{1,4}){2,}(?![\w])",
            lambda m: (
                ("version " if m[0][0] == "v" else "")
                + (" dot " if m[0].count(".") == 3 else " point ").join(
                    digits(one) if m[0].count(".") == 3 else number(one)
                    for one in m[0].lstrip("v").split(".")
                )
            ),
        ),
        rule(rf"(?<!\w)v(?P<n>{_N})(?!\w)", lambda m: f"version {number(m['n'])}"),
        rule(
            rf"(?<![\w.,])(?P<a>{_N})\s?(?:x|\u00d7)(?!\w|\s?[-\d+=*/^)\u00b2\u00b3])",
            lambda m: f"{number(m['a'])} times",
        ),
        rule(
            r"(?<![\w.,])\d+(?:[x\u00d7]\d+)+(?!\w)", lambda m: _joined(re.split("[x\u00d7]", m[0]), " by ")
        ),
        rule(rf"(?<![\w.,])(?P<a>{_N})(?P<k>[kK])\b", lambda m: f"{number(m['a'])} K"),
        rule(rf"(?<![\w.,])(?P<a>{_N})(?P<k>M|bn)\b", lambda m: f"{number(m['a'])} {_SCALES[m['k']]}"),
        rule(rf"(?P<sign>{_SIGN})?(?<![\w.,])(?P<a>{_N})(?:{_TIGHT})(?P<b>{_N})(?![\w-])", _range),
        rule(
            r"(?<=[\w)])\s?(?P<power>[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207b]+)",
            lambda m: _KNOWN_POWERS.get(m["power"]) or _power(m["power"].translate(_SUPERSCRIPTS)),
        ),
        rule(
            r"(?<=[\w)])\s?(?P<o>\*\*|[<>!=]=|[+*/x\u00d7\u00f7=<>^\u2264\u2265\u2260\u2248\u00b7]|(?<=\s)[-\u2212\u2013](?=\s))\s?(?=[\d(\u2212.-])",
            lambda m: _OPERATORS[m["o"]] if _is_between_numbers(m) else None,
        ),
        rule(rf"(?<!\w)(?P<o>[<>\u2264\u2265])\s?(?={_N})", lambda m: _BOUNDS[m["o"]]),
        rule(r"(?<!\w)(?:#|\u2116)\s?(?=\d)", lambda m: "number"),
        rule(r"\u00a7{1,2}\s?(?=\d)", lambda m: "section"),
        rule(r"\u221a\s?(?=[\d(])", lambda m: "the square root of"),
        rule(
            rf"(?P<sign>{_SIGN})?(?P<n>{_N})",
            lambda m: _sign(m) + number(m["n"]),
        ),
    ]


_KNOWN_POWERS = {"\u00b2": "squared", "\u00b3": "cubed"}
_TIGHT = r"[-\u2013\u2014]|\s[\u2013\u2014]\s"
_BOUNDS = {"<": "less than", ">": "more than", "\u2264": "at most", "\u2265": "at least"}


def by_length(names: Iterable[str]) -> list[str]:
    """Return names, the longest first: of those that begin alike it must be tried first."""
    return sorted(names, key=len, reverse=True)


def _choice(names: Iterable[str]) -> str:
    return "|".join(re.escape(name) for name in by_length(names))


def _sign(match: re.Match[str]) -> str:
    return _SIGNS.get((match.groupdict().get("sign") or "")[:1], "")


def _feet(match: re.Match[str]) -> str:
    return f"{cardinal(int(match['feet']))} foot {cardinal(int(match['inches']))}"


def _whole(text: str) -> int:
    return int(text.replace(",", ""))


def _both(text: str, between: str) -> str:
    return _joined(re.split("[/:]", text), between)


def _joined(numbers: list[str], between: str) -> str:
    return between.join(number(one) for one in numbers)


def _money(match: re.Match[str]) -> str:
    mark, a, b = match["mark"], match["a"], match["b"]
    scale = (match["scale"] or "").strip()
    sign = _sign(match)
    one, many, _, _ = CURRENCIES[mark]
    if scale or (b and "." not in a + b):
        words = f"{number(a)} to {number(b)}" if b else number(a)
        words = f"{words} {_SCALES.get(scale, scale)} {many}" if scale else f"{words} {many}"
    elif b:
        words = f"{_amount(a, mark)} to {_amount(b, mark)}"
    elif match.groupdict().get("one") is not None:
        words = f"{number(a)} {one}"
    else:
        words = _amount(a, mark)
    per = match.groupdict().get("per")
    return sign + words + (f" per {PER[per]}" if per else "")


def _amount(text: str, mark: str) -> str:
    """Return one amount of money, its hundredths as people say them."""
    one, many, cent, cents = CURRENCIES[mark]
    whole, _, decimals = text.partition(".")
    if len(decimals) != 2 or not cents or not whole:
        return f"{number(text)} {one if text == '1' else many}"
    value, hundredths = _whole(re.sub(r"[\u00a0\u2009\u202f]", "", whole)), int(decimals)
    small = f"{cardinal(hundredths)} {cent if hundredths == 1 else cents}"
    if not value:
        return small if hundredths else f"zero {many}"
    words = f"{cardinal(value)} {one if value == 1 else many}"
    if not hundredths:
        return words
    return f"{words} and {small}" if hundredths < 10 else f"{words} {cardinal(hundredths)}"


def _measure(match: re.Match[str]) -> str | None:
    one, many = UNITS[match["unit"]]
    amount, gap = match["amount"], match["gap"]
    if gap == "-" and not match["unit"].isalpha():
        return None
    sign = _sign(match)
    if re.fullmatch(_PARTS, amount):
        words, kind = _parts(amount)
        if one != many and kind == "half":
            name, words = f"a {one}", "half"
        elif one != many and kind == "part":
            name, words = f"of a {one}", words
        else:
            name = many
    else:
        numbers = re.split(rf"{_TO}|\sto\s", amount)
        words = " to ".join(_signed(text) for text in numbers)
        name = one if amount == "1" or gap == "-" else many
    per = match["per"]
    ending = f" per {PER.get(per) or UNITS[per][0]}" if per else ""
    return f"{sign}{words} {name}{ending}"


def _signed(text: str) -> str:
    sign = _SIGNS.get(text[:1], "")
    return sign + number(text[1:].strip() if sign else text)


def _parts(text: str) -> tuple[str, str]:
    """Return the words of a fraction, and whether it is a `half`, another `part` or a `mixed` number."""
    if text[-1] in VULGAR:
        whole, (above, below) = text[:-1].strip(), vulgar(text[-1])
    else:
        whole, _, fraction = text.rpartition(" ")
        above, below = (int(one) for one in fraction.split("/"))
    if below < 2:
        return f"{cardinal(above)} over {cardinal(below)}", "mixed"
    if whole:
        return mixed(int(whole), above, below), "mixed"
    return part(above, below), "half" if (above, below) == (1, 2) else "part"


def _fraction(match: re.Match[str]) -> str | None:
    amount = match["amount"]
    if "/" not in amount or " " in amount:
        return _parts(amount)[0]
    above, below = (int(one) for one in amount.split("/"))
    if match["stars"] is not None or above == below:
        return f"{cardinal(above)} out of {cardinal(below)}"
    return part(above, below) if 0 < above < below else None


def _range(match: re.Match[str]) -> str:
    sign = _sign(match)
    return f"{sign}{number(match['a'])} to {number(match['b'])}"


def _sum(match: re.Match[str]) -> str:
    tokens = re.findall(rf"{_N}|\*\*|\S", match[0])
    words, was_number = [], False
    for token in tokens:
        is_number = token[0].isdigit() or token[0] == "."
        if is_number:
            words.append(number(token))
        elif token == "?":
            words.append("what?")
        elif token == "-" and not was_number:
            words.append("minus")
        else:
            words.append(_OPERATORS[token])
        was_number = is_number
    return " ".join(words)


def _power(exponent: str) -> str:
    return f"to the power of {_signed(exponent.removeprefix('+'))}"


def _is_between_numbers(match: re.Match[str]) -> bool:
    before = match.string[: match.start()].rstrip()
    if before[-1:].isdigit() or before[-1:] == ")" or (before and before[-1] in "\u00b2\u00b3"):
        return True
    is_letter = match["o"] != "/" and re.search(r"(?<![\w\u00b0])[A-Za-z]$", before[-2:]) is not None
    return is_letter or match["o"] == "=" or match["o"] in ("==", "!=", "<=", ">=")
