"""English, as a list of rules: the first that finds a stretch of a text says it.

It owns their order and the names of single signs.
"""

from __future__ import annotations

from pipecatapp.speech.english_addresses import address_rules
from pipecatapp.speech.english_capitals import capital_rules
from pipecatapp.speech.english_names import name_rules
from pipecatapp.speech.english_quantities import measure_rules, money_rules, number_rules
from pipecatapp.speech.english_times import date_rules, time_rules
from pipecatapp.speech.rules import Rule

SIGNS = {
    "&": "and",
    "@": "at",
    "+": "plus",
    "=": "equals",
    "%": "percent",
    "\u00b0": "degrees",
    "$": "dollars",
    "\u20ac": "euros",
    "\u00a3": "pounds",
    "\u00d7": "times",
    "\u00f7": "divided by",
    "\u2248": "about",
    "\u00b1": "plus or minus",
    "\u03c0": "pi",
    "\u221e": "infinity",
    "\u00a9": "copyright",
    "\u2126": "ohms",
}
"""What signs are called where no rule has taken them."""


def english_rules(*, is_american: bool) -> list[Rule]:
    """Return the rules; `is_american` says that 3/5/2024 is in March."""
    return [
        *address_rules(),
        *date_rules(day_first=not is_american),
        *time_rules(),
        *money_rules(),
        *measure_rules(),
        *name_rules(),
        *capital_rules(),
        *number_rules(),
    ]
