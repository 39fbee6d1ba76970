"""English number words.

It owns the reading of cardinals from a list of words; what is done with the numbers is the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

UNITS: Mapping[str, int] = {
    word: value
    for value, word in enumerate(
        [
            *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
            *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
            "nineteen",
        ]
    )
}
"""Words from zero to nineteen."""
TENS: Mapping[str, int] = {
    word: 10 * value
    for value, word in enumerate(
        ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"), 2
    )
}
"""Words of the tens."""
SCALES: Mapping[str, int] = {
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}
"""Words that multiply what stands before them."""
ORDINALS: Mapping[str, int] = {
    word: value
    for value, word in enumerate(
        (
            *("second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"),
            *("eleventh", "twelfth"),
        ),
        2,
    )
}
"""Words for powers and for parts."""


def read_cardinal(words: Sequence[str]) -> tuple[str, int]:
    """Return the number at the start of `words`, in digits, and how many words it took; ("", 0) for none.

    It reads "twenty three", "a hundred and five", "two thousand", "three point one four".
    """
    total = group = used = 0
    last = ""  # unit, tens, hundred, scale
    while used < len(words):
        word = words[used]
        is_after_tens = last == "tens" and 0 < UNITS.get(word, 0) < 10
        if word in UNITS and (is_after_tens or last in ("", "hundred", "scale")):
            group, last = group + UNITS[word], "unit"
        elif word in TENS and last in ("", "hundred", "scale"):
            group, last = group + TENS[word], "tens"
        elif word == "hundred" and last in ("unit", "tens") and group < 100:
            group, last = group * 100, "hundred"
        elif word in SCALES and last in ("unit", "tens", "hundred"):
            total, group, last = total + group * SCALES[word], 0, "scale"
        elif word == "a" and last == "" and _at(words, used + 1) in ("hundred", *SCALES):
            group, last = 1, "unit"
        elif word == "and" and last in ("hundred", "scale") and _is_small(_at(words, used + 1)):
            pass
        else:
            break
        used += 1
    if used == 0:
        return "", 0
    digits, more = _read_decimals(words[used:])
    return f"{total + group}{digits}", used + more


def _read_decimals(words: Sequence[str]) -> tuple[str, int]:
    if _at(words, 0) != "point":
        return "", 0
    digits = ""
    for word in words[1:]:
        if UNITS.get(word, 10) > 9:
            break
        digits += str(UNITS[word])
    return (f".{digits}", 1 + len(digits)) if digits else ("", 0)


def _is_small(word: str) -> bool:
    return UNITS.get(word, 0) > 0 or word in TENS


def _at(words: Sequence[str], index: int) -> str:
    return words[index] if index < len(words) else ""
