"""Roman numbers, as rulers and chapters have them.

Not here: how they are said, which each language's rules know.
"""

from __future__ import annotations

_LETTERS = {"I": 1, "V": 5, "X": 10, "L": 50}


def roman_value(text: str) -> int:
    """Return the value of a Roman number below 90."""
    values = [_LETTERS[letter] for letter in text]
    return sum(
        -value if index + 1 < len(values) and value < values[index + 1] else value
        for index, value in enumerate(values)
    )
