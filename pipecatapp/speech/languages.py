"""Which rules a language has.

English has its own; others what the library of number words and a small table give (`other_languages`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from pipecatapp.speech.english import SIGNS, english_rules
from pipecatapp.speech.english_numbers import cardinal
from pipecatapp.speech.other_languages import other_rules, other_signs
from pipecatapp.speech.rules import Rule


@dataclass(frozen=True, slots=True)
class Language:
    """What is said otherwise than it is written, and what signs are called."""

    rules: Sequence[Rule]
    signs: Mapping[str, str]


@lru_cache(maxsize=32)
def language_of(tag: str) -> Language:
    """Return the rules for a tag of BCP 47: "en-US", "de"; none for a language that is not known."""
    name, _, region = tag.replace("_", "-").partition("-")
    if name.lower() == "en":
        # The library of number words is read now (0.25 s) and not in the middle of an answer.
        cardinal(0)
        return Language(english_rules(is_american=region.upper() in ("", "US")), SIGNS)
    return Language(other_rules(tag.replace("_", "-")), other_signs(name.lower()))
