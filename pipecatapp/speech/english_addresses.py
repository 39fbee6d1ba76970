"""Addresses in English: e-mail, pages, machines, telephones, and codes that are said digit by digit.

It owns what of an address is said; of a page only the machine's name is, for nobody can follow a path by ear.
"""

from __future__ import annotations

import re

from pipecatapp.speech.english_numbers import digits, number
from pipecatapp.speech.rules import Rule, rule

_TOP_LEVEL = (
    "com|org|net|edu|gov|mil|info|io|dev|app|ai|me|tv|co|eu|uk|us|de|fr|es|it|pt|nl|be|ch|at|se|no|dk|fi|pl|cz|ie|"
    "ca|au|nz|in|jp|cn|kr|br|mx|ru|local|home|lan|example|test|invalid"
)
_SAID_AS_WORD = frozenset(
    {"com", "org", "net", "edu", "gov", "info", "dev", "app", "me", "co", "at", "in", "it", "no", "be"}
)
_MARKS = {".": "dot", "-": "dash", "_": "underscore", "+": "plus", "/": "slash", "&": "and", "%": "percent"}
_FEWEST_DIGITS, _MOST_DIGITS = 7, 15
"""Of a telephone number: E.164 has at most 15."""
_HOST = r"(?:[A-Za-z0-9-]+\.)+"
_CODE_OF = (
    r"PIN(?: code)?|passcode|password|zip(?: code)?|postcode|post code|code|extension|ext\.?|"
    r"account(?: number)?|serial(?: number)?|"
    r"(?:tracking|order|reference|confirmation|case|ticket|booking) (?:number|code|no\.?)|"
    r"(?:phone|telephone|fax|card) number"
)


def address_rules() -> list[Rule]:
    """Return the rules."""
    return [
        rule(
            r"(?:mailto:)?(?P<name>[A-Za-z0-9][\w.+%-]{0,63})@(?P<host>[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)",
            lambda m: f"{spelled(m['name'])} at {domain(m['host'])}",
        ),
        rule(
            r"(?<!\w)(?:[A-Za-z][A-Za-z0-9+.-]*://|www\.)(?:[^\s/@]*@)?(?P<host>[\w.-]*\w)(?P<rest>[^\s<>()\[\]\"']*[\w/=#])?",
            lambda m: domain(m["host"]),
        ),
        rule(
            rf"(?<![\w@./-])(?P<host>{_HOST}(?:{_TOP_LEVEL}))(?![\w@-])(?::\d+)?(?:/[^\s<>()\[\]\"']*[\w/])?",
            lambda m: domain(m["host"]),
        ),
        rule(r"(?<=[a-z0-9_])\.(?=(?:[a-z]{2,5}|[a-z]+\d)\b)(?!\.)", lambda m: "dot"),
        rule(
            r"(?<![\w+])\+(?P<n>\d{1,3}(?:[\s().\u00a0/-]{0,2}\d{1,5}){2,6})(?![\w.]\d)",
            lambda m: _phone(m["n"], "plus "),
        ),
        rule(
            r"(?<![\w.+(/-])(?P<n>(?:1[-.\s])?\(?\d{3}\)?[-.\s]\d{3}[-.\s]\d{4})(?![\w-])",
            lambda m: _phone(m["n"]),
        ),
        rule(
            r"(?<![\w.+/-])(?P<n>\(?0\d{1,4}\)?(?:[\s/-]\d{2,8}){1,5})(?![\w/-]|[.,:]\d)",
            lambda m: _phone(m["n"]),
        ),
        rule(r"(?<![\w.+(/-])(?P<n>1-800-[\w-]{4,10}|555-\d{4})(?![\w-])", lambda m: _groups(m["n"])),
        rule(
            r"(?i:\b(?P<verb>call|dial|phone|ring|text|tel\.?|telephone|fax|hotline))(?P<link>:?\s+(?:(?:is|at|on|number)\s+)?)"
            r"(?P<n>\d{3,}(?:[-\s]\d{3,4})*)(?![\w-]|[.,:]\d|\s+[a-z]+s\b|\s+people\b|\s?%)",
            lambda m: f"{m['verb'].rstrip('.')} {m['link'].strip(' :')} {_groups(m['n'])}".replace("  ", " "),
        ),
        rule(r"\bISBN:?\s(?P<n>\d[\d-]{8,16}[\dX])(?!\w)", lambda m: f"I S B N {_groups(m['n'])}"),
        rule(r"(?<![\w.-])(?P<n>\d{4}(?:[ -]\d{4}){3})(?![\w-])", lambda m: _groups(m["n"])),
        rule(
            rf"(?i:\b(?P<what>{_CODE_OF}))(?P<link>\s*(?::|#|is|no\.|number)?\s*)(?P<n>\d{{3,10}})(?![\w-]|[.,:]\d|\s?%)",
            lambda m: f"{m['what'].rstrip('.')} {m['link'].strip(' :#')} {digits(m['n'])}".replace("  ", " "),
        ),
    ]


def spelled(name: str) -> str:
    """Return a name of an address: "anna.lee5" is "anna dot lee 5" in words."""
    words = []
    for token in re.findall(r"[^\W\d_]+|\d+|[^\w\s]|_", name):
        if token.isdecimal():
            words.append(number(token) if len(token) <= 2 and token[0] != "0" else digits(token))
        else:
            words.append(_MARKS.get(token, token))
    return " ".join(words)


def domain(host: str) -> str:
    """Return the name of a machine: "www.example.de" is "example dot D E"."""
    labels = host.removeprefix("www.").split(".")
    if all(label.isdecimal() for label in labels):
        return " dot ".join(digits(label) for label in labels)
    *first, last = labels
    if len(first) > 0 and len(last) == 2 and last.lower() not in _SAID_AS_WORD:
        last = " ".join(last.upper()).replace("A", "eigh")
    else:
        last = spelled(last)
    return " dot ".join([*(spelled(label) for label in first), last])


def _phone(text: str, before: str = "") -> str | None:
    count = sum(character.isdecimal() for character in text)
    return before + _groups(text) if _FEWEST_DIGITS <= count <= _MOST_DIGITS else None


def _groups(text: str) -> str:
    """Return digits one by one, with a short pause between groups."""
    groups = re.findall(r"\d+|[A-Za-z]+", text)
    return ", ".join(digits(group) if group.isdecimal() else group for group in groups)
