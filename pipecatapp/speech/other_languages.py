"""Languages other than English: numbers by the library of number words, the rest by a small table.

Of a language that is in the table: numbers, amounts of money, common units, times, dates, ranges, rulers,
addresses and short forms. Of any other that the library knows: whole numbers. Of the rest nothing is changed,
and the voice reads digits as it can. Not here: the table (`language_tables`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache

from pipecatapp.speech.language_tables import LANGUAGE_TABLES, SYMBOLS, LanguageTable
from pipecatapp.speech.roman import roman_value
from pipecatapp.speech.rules import Rule, rule

MAX_COUNTED_DIGITS = 15
"""A longer number is no count; it is said digit by digit."""
_NUMBER = r"(?:\d{1,3}(?:[.\u00a0\u2009\u202f]\d{3})+(?!\d)|\d{1,3}(?: \d{3})*(?: 000)+(?!\d)|\d+)(?:,\d+)?"
_TO = r"\s?[-\u2013\u2014]\s?"
_SIGN = r"(?<![\w)%\u00b0])[-\u2212]\s?(?=\d)"
_PARTS = {
    **{
        "1/2": 0,
        "\u00bd": 0,
        "1/3": 1,
        "\u2153": 1,
        "2/3": 2,
        "\u2154": 2,
        "1/4": 3,
        "\u00bc": 3,
        "3/4": 4,
        "\u00be": 4,
    }
}
_AS_LETTERS = frozenset(
    (
        "AI",
        "API",
        "BIP",
        "CIA",
        "CPU",
        "EU",
        "FAQ",
        "FBI",
        "GPU",
        "IBM",
        "IP",
        "NBA",
        "UE",
        "UK",
        "URL",
        "USA",
        "USB",
        "VIP",
    )
)
"""Abbreviations with vowels that are said letter by letter."""
_MONEY = {"\u20ac": "euro", "EUR": "euro", "$": "dollar", "USD": "dollar", "\u00a3": "pound", "GBP": "pound"}


def other_signs(name: str) -> Mapping[str, str]:
    """Return what signs are called in the language of that name."""
    return LANGUAGE_TABLES[name].signs if name in LANGUAGE_TABLES else {}


def other_rules(tag: str) -> list[Rule]:
    """Return the rules for a tag of BCP 47; none for a language that the library does not know."""
    name, code = tag.partition("-")[0].lower(), library_code(tag)
    if code is None:
        return []
    say = _Sayer(code, LANGUAGE_TABLES.get(name))
    if say.table is None:
        return [rule(r"(?<![\w.,])\d+(?![\w]|[.,]\d)", lambda m: say.whole(m[0]))]
    return [*_address_rules(name, say.table), *_rules(say, say.table)]


def library_code(tag: str) -> str | None:
    """Return the library's name of a language; None when it does not know it, or nothing is said."""
    if not tag:
        return None
    from num2words import CONVERTER_CLASSES

    name, _, region = tag.partition("-")
    for code in (f"{name.lower()}_{region.upper()}", name.lower()):
        if code in CONVERTER_CLASSES:
            return code
    return None


class _Sayer:
    """Says numbers in one language."""

    def __init__(self, code: str, table: LanguageTable | None) -> None:
        self._code = code
        self.table = table
        self.whole_number = lru_cache(maxsize=2048)(self._whole_number)

    def whole(self, digits: str) -> str:
        """Return a whole number; a long one, or one that begins with 0, digit by digit."""
        if len(digits) > MAX_COUNTED_DIGITS or (len(digits) > 1 and digits.startswith("0")):
            return self.digits(digits)
        return self.whole_number(int(digits), "cardinal")

    def digits(self, text: str) -> str:
        """Return the digits of `text` one by one."""
        return " ".join(self.whole_number(int(one), "cardinal") for one in text if one.isdecimal())

    def number(self, text: str) -> str:
        """Return a number of the form `_NUMBER`."""
        whole, _, decimals = re.sub(r"[.\s]", "", text).partition(",")
        words = self.whole(whole)
        if decimals and self.table is not None:
            is_digits = self.table.is_spelled_out or decimals.startswith("0") or len(decimals) > 3
            words += f" {self.table.decimal} {self.digits(decimals) if is_digits else self.whole(decimals)}"
        return words

    def of_things(self, text: str) -> str:
        """Return a number before what is counted."""
        return self.table.one if text == "1" and self.table is not None else self.number(text)

    def ordinal(self, value: int) -> str:
        """Return a place in an order."""
        return self.whole_number(value, "ordinal")

    def _whole_number(self, value: int, kind: str) -> str:
        from num2words import num2words

        return str(num2words(value, lang=self._code, to=kind)).replace(",", "")


def _rules(say: _Sayer, table: LanguageTable) -> list[Rule]:
    units = dict(zip(SYMBOLS, table.units, strict=True))
    unit = "|".join(re.escape(one) for one in sorted(units, key=len, reverse=True))
    mark = "|".join(re.escape(one) for one in _MONEY)
    months = "|".join(table.months)
    short = "|".join(re.escape(one) for one in sorted(table.short, key=len, reverse=True))
    day, on_year = r"(?P<day>0?[1-9]|[12]\d|3[01])", r"(?P<year>\d{4})"

    def signed(match: re.Match[str]) -> str:
        return f"{table.minus} " if match.groupdict().get("sign") else ""

    def measure(match: re.Match[str]) -> str:
        one, _, many = units[match["unit"]].partition("|")
        name = (many or one) if match["a"] != "1" or match["b"] else one
        amount = f"{say.number(match['a'])} {table.to} {say.number(match['b'])}" if match["b"] else ""
        return f"{signed(match)}{amount or say.of_things(match['a'])} {name}"

    def day_words(match: re.Match[str], month: str) -> str:
        number = int(match["day"])
        if table is LANGUAGE_TABLES["de"]:
            before = match.string[: match.start()].split()[-1:] or [""]
            is_bent = before[0].lower() in ("am", "vom", "zum", "dem", "bis", "den", "seit", "ab")
            words = say.ordinal(number) + ("n" if is_bent else "" if before[0].lower() == "der" else "r")
        elif table is LANGUAGE_TABLES["fr"] and number == 1:
            words = "premier"
        else:
            words = say.whole(str(number))
        on = match.groupdict().get("year")
        if on is None:
            return table.date.format(day=words, month=month, year="").removesuffix(" de ").strip()
        return table.date.format(day=words, month=month, year=_year(say, on))

    def date(match: re.Match[str]) -> str | None:
        month = int(match["mm"])
        return day_words(match, table.months[month - 1]) if 1 <= month <= 12 else None

    def time(match: re.Match[str]) -> str:
        hour, minute = int(match["h"]), int(match["m"])
        hour_words = table.one_hour.get(hour) or say.whole(str(hour))
        if not minute:
            return table.full_hour.format(hour=hour_words)
        return table.hour_minutes.format(hour=hour_words, minute=say.whole(str(minute)))

    return [
        rule(rf"(?<!\w)(?P<short>{short})(?!\w)", lambda m: table.short[m["short"]]),
        rule(rf"(?<![\w.,/-]){on_year}-(?P<mm>\d\d)-{day}(?![\w/-])", date),
        rule(rf"(?<![\w.,/-]){day}(?P<c>[./-])(?P<mm>\d{{1,2}})(?P=c){on_year}(?![\w/-]|[.,]\d)", date),
        rule(
            rf"(?<![\w.,/-]){day}(?:\.|er|\u00ba)?\s(?:de\s)?(?P<month>{months})\b(?:\s(?:de\s)?{on_year}(?!\w|[.,]\d))?",
            lambda m: day_words(m, m["month"]),
        ),
        rule(rf"(?<![\w.,:])(?P<h>[01]?\d|2[0-4])[:h](?P<m>[0-5]\d)(?![\d:]){_after_time(table)}", time),
        rule(
            rf"(?P<sign>{_SIGN})?(?<![\w.,/])(?P<a>{_NUMBER})\s?(?P<mark>{mark})(?!\w)",
            lambda m: signed(m) + _amount(say, table, m["a"], m["mark"]),
        ),
        rule(
            rf"(?<!\w)(?P<mark>{mark})\s?(?P<a>{_NUMBER})", lambda m: _amount(say, table, m["a"], m["mark"])
        ),
        rule(
            rf"(?P<sign>{_SIGN})?(?<![\w.,/])(?P<a>{_NUMBER})(?:{_TO}(?P<b>{_NUMBER}))?[\s\u00a0\u202f]?"
            rf"(?P<unit>{unit})(?!\w|/\w)",
            measure,
        ),
        rule(r"(?<!\w)\+?\(?\d{2,5}\)?(?:[\s/-]\d{2,8}){2,5}(?!\w)", lambda m: _phone(say, m[0])),
        rule(r"(?P<name>\b[A-Z]\w+)\s(?P<roman>[IVX]{2,6}|I(?=er\b))(?:er\b|\.)?(?!\w)", _king(say, table)),
        rule(
            r"(?<!\w)(?P<n>\d{1,3})(?:\u00ba|\u00aa|\.\u00ba|e\b|\u00e8me\b)",
            lambda m: say.ordinal(int(m["n"])),
        ),
        rule(
            r"(?<![\w.,/])(?:(?P<whole>\d+)\s?)?(?P<part>[\u00bc\u00bd\u00be\u2153\u2154]|[123]/[234](?![\d/]))",
            lambda m: _part(say, table, m["whole"], m["part"]),
        ),
        rule(r"(?<![\w.])(?P<caps>[A-Z]{2,5})(?!\w)", _capitals),
        rule(
            rf"(?<![\w.,])(?P<a>{_NUMBER})[-\u2013](?P<b>{_NUMBER})(?![\w-])",
            lambda m: f"{say.number(m['a'])} {table.to} {say.number(m['b'])}",
        ),
        *_year_rules(say, table),
        rule(rf"(?P<sign>{_SIGN})?(?P<a>{_NUMBER})", lambda m: signed(m) + say.number(m["a"])),
    ]


def _after_time(table: LanguageTable) -> str:
    """Return the pattern of what may follow a time and is said with it already."""
    return (
        r"(?:\s?Uhr\b)?"
        if table is LANGUAGE_TABLES["de"]
        else r"(?:\s?uur\b)?"
        if table is LANGUAGE_TABLES["nl"]
        else ""
    )


def _year(say: _Sayer, text: str) -> str:
    value = int(text)
    kind = "year" if 1100 <= value < 2000 else "cardinal"
    return say.whole_number(value, kind).replace("  ", " ")


def _year_rules(say: _Sayer, table: LanguageTable) -> list[Rule]:
    """Return the rules of years where they are said otherwise than counts."""
    before = {
        "de": r"[Ii]m Jahre?|Jahr|[Ss]eit|[Vv]on|[Aa]b|[Bb]is|[Nn]ach|[Vv]or|[Aa]us|[Ii]n|[Ss]ommer|[Aa]nno",
        "nl": r"[Ii]n|[Ss]inds|[Vv]an|[Tt]ot|[Vv]anaf|[Uu]it|jaar",
    }
    name = next((name for name in before if LANGUAGE_TABLES[name] is table), None)
    if name is None:
        return []
    return [
        rule(
            rf"\b(?P<pre>{before[name]})\s(?P<year>1[1-9]\d\d)(?!\w|[.,:]\d|\s?[%\u20ac$])(?!\s[a-z]+en\b)",
            lambda m: f"{m['pre']} {_year(say, m['year'])}",
        )
    ]


def _amount(say: _Sayer, table: LanguageTable, text: str, mark: str) -> str:
    names: dict[str, tuple[str, str, str, str]] = {
        "euro": table.euro,
        "dollar": table.dollar,
        "pound": table.pound,
    }
    one, many, join, cents = names[_MONEY[mark]]
    whole, _, decimals = text.partition(",")
    if len(decimals) not in (0, 2):
        return f"{say.number(text)} {many}"
    if whole == "0" and decimals:
        return f"{say.whole(decimals.lstrip('0') or '0')} {cents}"
    words = f"{say.of_things(whole)} {one if whole == '1' else many}"
    rest = decimals.lstrip("0")
    if not rest:
        return words
    return f"{words}{join}{say.whole(rest)}" + (f" {cents}" if len(rest) == 1 else "")


def _part(say: _Sayer, table: LanguageTable, whole: str | None, part: str) -> str | None:
    if part not in _PARTS:
        return None
    words = table.parts[_PARTS[part]]
    return f"{say.whole(whole)} {table.signs['&']} {words}" if whole else words


def _capitals(match: re.Match[str]) -> str | None:
    caps = match["caps"]
    return " ".join(caps) if caps in _AS_LETTERS or not set(caps) & set("AEIOUY") else None


def _phone(say: _Sayer, text: str) -> str | None:
    groups = re.findall(r"\d+", text)
    if not 7 <= sum(map(len, groups)) <= 15 or not text.startswith(("+", "0", "(0")):
        return None
    plus = "plus " if text.startswith("+") else ""
    return plus + ", ".join(say.digits(group) for group in groups)


def _king(say: _Sayer, table: LanguageTable) -> Callable[[re.Match[str]], str | None]:
    def words(match: re.Match[str]) -> str:
        value = roman_value(match["roman"])
        if table.king == "ordinal" or (table.king == "mixed" and value <= 10):
            number = say.ordinal(value)
        elif table.king in ("cardinal", "mixed"):
            number = "premier" if value == 1 else say.whole(str(value))
        else:
            number = f"{table.king} {say.ordinal(value).capitalize()}"
        return f"{match['name']} {number}"

    return words


def _address_rules(name: str, table: LanguageTable) -> list[Rule]:
    dot, at = table.address

    def host(text: str) -> str:
        return f" {dot} ".join(text.removeprefix("www.").split("."))

    return [
        rule(
            r"(?:mailto:)?(?P<name>[A-Za-z0-9][\w.+-]{0,63})@(?P<host>[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)",
            lambda m: f"{host(re.sub('[_+-]', ' ', m['name']))} {at} {host(m['host'])}",
        ),
        rule(
            r"(?<!\w)(?:[A-Za-z][A-Za-z0-9+.-]*://|www\.)(?P<host>[\w.-]*\w)(?:[^\s<>()\[\]\"']*[\w/=#])?",
            lambda m: host(m["host"]),
        ),
        rule(
            rf"(?<![\w@./-])(?P<host>(?:[A-Za-z0-9-]+\.)+(?:com|org|net|info|eu|{name}|ch|at|be|br))(?![\w@-])",
            lambda m: host(m["host"]),
        ),
    ]
