"""Times, dates and years in English.

It owns which number is a time, a date or a year; how a number is said is `english_numbers`'.
"""

from __future__ import annotations

import re

from pipecatapp.speech.english_numbers import cardinal, ordinal, year
from pipecatapp.speech.english_units import UNITS
from pipecatapp.speech.rules import Rule, rule

MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September", "October"),
    *("November", "December"),
)
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTH = r"(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\b\.?|(?:" + "|".join(MONTHS) + r")\b"
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_TO = r"\s?[-\u2013\u2014]\s?"
_YEAR = r"(?:1\d|20)\d{2}"
_NO_MORE = r"(?![\w:%]|[.,/-]\d)"
_HALF = r"(?:(?P<{0}>[aApP])(?:[mM]\b(?!\.\w)|\.[mM]\.(?P<{0}_stop>(?=\s+(?![A-Z]{{2,4}}\b)[A-Z]|\s*$))?))"
_TIME = r"(?P<h{0}>[01]?\d|2[0-4]):(?P<m{0}>[0-5]\d)(?::(?P<s{0}>[0-5]\d))?"
_UNIT = "|".join(sorted((re.escape(unit) for unit in UNITS if unit.isalpha()), key=len, reverse=True))
_NOT_A_COUNT = (
    r"(?!\s+(?!(?:is|was|has|as|its|this|his)\b)[a-z]+s\b)"
    r"(?!\s+(?:people|men|women|children|feet|fish|sheep|percent|thousand|million|billion)\b)"
    rf"(?!\s?(?:{_UNIT})\b)"
)
"""No plural, no unit behind it: 1500 words are no year."""
_BEFORE_A_YEAR = (
    "in|since|from|until|till|by|before|after|during|around|circa|ca\\.|year|year is|year was|early|mid|late|"
    "spring|summer|autumn|fall|winter|born|died|founded|established|built|dated|copyright|\u00a9|class of|"
    "year of|summer of|winter of|spring of|fall of|autumn of|war of|revolution of|crisis of|election of|"
    "battle of|treaty of|act of"
)


def clock_words(hour: int, minute: int, half: str = "") -> str:
    """Return a time of day.

    Args:
        hour: 0 to 24.
        minute: 0 to 59.
        half: "a" or "p" where the clock has twelve hours, else "".
    """
    if minute:
        words = f"{cardinal(hour)} {'oh ' if minute < 10 else ''}{cardinal(minute)}"
    elif half:
        words = cardinal(hour)
    elif hour in (0, 24):
        words = "midnight"
    else:
        words = f"{cardinal(hour)} {'o' + chr(39) + 'clock' if hour <= 12 else 'hundred'}"
    # "eigh" is the letter's name: before another letter a lone A is taken for the article.
    return f"{words} {'eigh M' if half.lower() == 'a' else 'P M'}" if half else words


def date_words(day: int, month: int, of_year: int | None = None, *, day_first: bool = False) -> str:
    """Return a date: "March fifth, twenty twenty-four", or "the fifth of March, ..."."""
    name = MONTHS[month - 1]
    words = f"the {ordinal(day)} of {name}" if day_first else f"{name} {ordinal(day)}"
    return f"{words}, {year(of_year)}" if of_year else words


def time_rules() -> list[Rule]:
    """Return the rules of times, dates and years that both kinds of English share."""
    half, half2 = _HALF.format("ap"), _HALF.format("ap2")
    month = rf"(?P<month>{_MONTH})"
    on_year = rf"(?P<year>{_YEAR})"
    days = rf"(?P<day>{_DAY})(?:st|nd|rd|th)?(?:{_TO}(?P<day2>{_DAY})(?:st|nd|rd|th)?)?"
    return [
        rule(rf"(?<![\w.:/-]){on_year}-(?P<mm>0[1-9]|1[0-2])-(?P<day>{_DAY})(?:T|(?=\W|$))(?!-)", _iso),
        rule(
            rf"\b(?P<month>{_MONTH})\s?[-\u2013]\s?(?P<last>{_MONTH})(?!\w|\s\d)",
            lambda m: " to ".join(MONTHS[_month_number(m[which]) - 1] for which in ("month", "last")),
        ),
        rule(
            r"\b(?P<a>Mon|Tues?|Wed|Thu|Thurs?|Fri|Sat|Sun)\.?\s?[-\u2013]\s?(?P<name>Mon|Tues?|Wed|Thu|Thurs?|Fri|Sat|Sun)\b\.?",
            lambda m: f"{_full_day(m['a'])} to {_weekday(m)}",
        ),
        rule(
            r"\b(?P<name>Mon|Tues?|Wed|Thu|Thurs?|Fri|Sat|Sun)\b\.?(?=,?\s+(?:\d|" + _MONTH + "))", _weekday
        ),
        rule(rf"\b{month}\s+{days}(?:(?:\s?,\s?|\s+){on_year})?{_NO_MORE}", _month_day),
        rule(
            rf"(?<![\w.,:/$\u20ac\u00a3-])(?P<the>[Tt]he\s+)?{days}(?:\s+of)?\s+{month}(?:,?\s+{on_year}\b)?{_NO_MORE}",
            _day_month,
        ),
        rule(rf"\b{month},?\s+(?:of\s+)?{on_year}{_NO_MORE}", _month_year),
        rule(
            rf"(?:(?<![\w:.,/])|(?<=\dT)){_TIME.format('')}(?![\d:])(?:\s?{half})?"
            rf"(?:{_TO}{_TIME.format('2')}(?![\d:])(?:\s?{half2})?)?(?:\s?o['\u2019]clock)?",
            _time,
        ),
        rule(
            rf"(?<![\w:.,/-])(?P<h>1[0-2]|[1-9])(?:{_TO}(?P<h2>1[0-2]|[1-9]))?\s?{half}",
            _hour,
        ),
        rule(
            r"(?<![\w.,])(?:(?P<century>1\d|20)(?P<ten>\d)0s|['\u2018\u2019]?(?P<short>[2-9])0s)\b", _decade
        ),
        rule(
            rf"(?<![\w.,/-])(?P<from>{_YEAR}){_TO}(?P<to>{_YEAR}|\d\d)(?![\w/-]|[.,:]\d){_NOT_A_COUNT}",
            _years,
        ),
        rule(
            rf"\b(?P<open>[Ff]rom|[Bb]etween)\s+(?P<from>{_YEAR})\s+(?P<link>to|and|until|till)\s+(?P<to>{_YEAR})"
            rf"(?![\w/-]|[.,:]\d){_NOT_A_COUNT}",
            lambda m: f"{m['open']} {year(int(m['from']))} {m['link']} {year(int(m['to']))}",
        ),
        rule(
            r"(?<![\w.,])(?P<year>\d{1,4})\s?(?P<era>BCE?|CE|AD)\b|\bAD\s(?P<after>\d{1,4})\b",
            lambda m: (
                f"{year(int(m['year'] or m['after']))} {' '.join(m['era'] or 'AD').replace('A', 'eigh')}"
            ),
        ),
        rule(
            rf"(?i:\b(?P<pre>{_BEFORE_A_YEAR}))[\s-](?P<year>{_YEAR})(?![\w/-]|[.,:]\d|\s?%){_NOT_A_COUNT}",
            lambda m: f"{m['pre']} {year(int(m['year']))}",
        ),
        rule(
            r"(?<!\w)['\u2018\u2019](?P<short>\d\d)(?![\w'\u2019])",
            lambda m: ("oh " if m["short"] < "10" else "") + cardinal(int(m["short"])),
        ),
        rule(rf"(?<=\()(?P<year>{_YEAR})(?=\))", lambda m: year(int(m["year"]))),
        rule(
            rf"(?<=the )(?:{_YEAR})(?=\s+[A-Z][a-z])|(?<![\w.,-])(?:{_YEAR})['\u2019]s\b",
            lambda m: year(int(m[0][:4])) + ("'s" if m[0][4:] else ""),
        ),
        rule(
            rf"\b(?P<pre>[A-Z][a-z]+)\s+(?P<year>(?:19|20)\d\d)(?![\w/-]|[.,:]\d|\s?%){_NOT_A_COUNT}",
            lambda m: f"{m['pre']} {year(int(m['year']))}",
        ),
    ]


def date_rules(*, day_first: bool) -> list[Rule]:
    """Return the rules of dates in digits; `day_first` says how 3/5/2024 is read."""

    def say(match: re.Match[str]) -> str | None:
        first, second = int(match["first"]), int(match["second"])
        month, day = (second, first) if day_first or match["mark"] == "." else (first, second)
        if month > 12:
            month, day = day, month
        if not (1 <= month <= 12 and 1 <= day <= 31):
            return None
        has_year = "year" in match.re.groupindex
        words = date_words(day, month, _whole_year(match["year"]) if has_year else None, day_first=day_first)
        return words if has_year else f"{match['on']} {words}"

    short = r"(?P<first>\d{1,2})(?P<mark>[/.-])(?P<second>\d{1,2})(?P=mark)(?P<year>\d{4}|\d\d)"
    no_year = r"(?P<on>[Oo]n|[Bb]y|[Uu]ntil)\s(?P<first>\d{1,2})(?P<mark>/)(?P<second>\d{1,2})"
    return [
        rule(rf"(?<![\w.,/:-]){short}(?![\w/-]|[.,:]\d)", say),
        rule(rf"\b{no_year}(?![\w/-]|[.,:]\d)", say),
    ]


def _whole_year(text: str) -> int:
    value = int(text)
    return value if len(text) == 4 else value + (2000 if value < 70 else 1900)


def _month_number(name: str) -> int:
    return next(index for index, full in enumerate(MONTHS, 1) if full.startswith(name[:3]))


def _iso(match: re.Match[str]) -> str:
    words = date_words(int(match["day"]), int(match["mm"]), int(match["year"]))
    return f"{words} at" if match[0].endswith("T") else words


def _weekday(match: re.Match[str]) -> str:
    return _full_day(match["name"])


def _full_day(short: str) -> str:
    return next(day for day in _WEEKDAYS if day.startswith(short[:3]))


def _days(match: re.Match[str]) -> str:
    words = ordinal(int(match["day"]))
    return f"{words} to {ordinal(int(match['day2']))}" if match["day2"] else words


def _month_day(match: re.Match[str]) -> str:
    words = f"{MONTHS[_month_number(match['month']) - 1]} {_days(match)}"
    return f"{words}, {year(int(match['year']))}" if match["year"] else words


def _day_month(match: re.Match[str]) -> str:
    words = f"{match['the'] or 'the '}{_days(match)} of {MONTHS[_month_number(match['month']) - 1]}"
    return f"{words}, {year(int(match['year']))}" if match["year"] else words


def _month_year(match: re.Match[str]) -> str:
    return f"{MONTHS[_month_number(match['month']) - 1]} {year(int(match['year']))}"


def _time(match: re.Match[str]) -> str:
    words = _one_time(match, "", match["ap"] or "")
    if match["h2"]:
        words = f"{words} to {_one_time(match, '2', match['ap2'] or '')}"
    return words + ("." if match["ap_stop"] is not None or match["ap2_stop"] is not None else "")


def _one_time(match: re.Match[str], which: str, half: str) -> str:
    hour, minute = int(match["h" + which]), int(match["m" + which])
    seconds = match["s" + which]
    if seconds is None:
        return clock_words(hour, minute, half)
    parts = ((hour, "hour"), (minute, "minute"), (int(seconds), "second"))
    said = [f"{cardinal(count)} {name}{'' if count == 1 else 's'}" for count, name in parts if count]
    return " ".join(said) or "zero seconds"


def _hour(match: re.Match[str]) -> str:
    stop = "." if match["ap_stop"] is not None else ""
    if match["h2"]:
        return f"{cardinal(int(match['h']))} to {clock_words(int(match['h2']), 0, match['ap'])}{stop}"
    return clock_words(int(match["h"]), 0, match["ap"]) + stop


def _decade(match: re.Match[str]) -> str:
    if match["short"]:
        return _tens(int(match["short"]))
    century, ten = int(match["century"]), int(match["ten"])
    if ten == 0:
        return f"{year(century * 100)}s"
    return f"{cardinal(century)} {_tens(ten)}"


def _tens(ten: int) -> str:
    return "tens" if ten == 1 else cardinal(10 * ten)[:-1] + "ies"


def _years(match: re.Match[str]) -> str | None:
    first, last = int(match["from"]), int(match["to"])
    if len(match["to"]) == 4:
        return f"{year(first)} to {year(last)}" if first <= last else None
    if last <= first % 100:
        return None
    return f"{year(first)} to {'oh ' if last < 10 else ''}{cardinal(last)}"
