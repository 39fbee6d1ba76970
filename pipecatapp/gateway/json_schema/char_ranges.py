"""Sets of characters, as regular expressions have them.

It owns their arithmetic; what an expression means by them is `regex`'s.
"""

from __future__ import annotations

from collections.abc import Sequence

LAST = 0x10FFFF
"""The last code point (The Unicode Standard, section 2.4)."""

Ranges = tuple[tuple[int, int], ...]
"""Characters by their code points, both ends included, in order."""

DIGITS: Ranges = ((0x30, 0x39),)
WORD: Ranges = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
SPACE: Ranges = (
    *((0x09, 0x0D), (0x20, 0x20), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029)),
    *((0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF)),
)
LINE_ENDS: Ranges = ((0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029))
ALL: Ranges = ((0, LAST),)
CLASSES = {"d": DIGITS, "w": WORD, "s": SPACE}


def is_one(ranges: Ranges) -> bool:
    """Whether there is one character in it."""
    return len(ranges) == 1 and ranges[0][0] == ranges[0][1]


def joined(ranges: Sequence[tuple[int, int]]) -> Ranges:
    """Return ranges in order, those that touch as one."""
    found: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return tuple(found)


def without(ranges: Ranges, others: Ranges) -> Ranges:
    """Return what is in `ranges` and not in `others`, which are in order both."""
    left: list[tuple[int, int]] = []
    for first, last in ranges:
        low = first
        for other_low, other_high in others:
            if other_high < low or other_low > last:
                continue
            if other_low > low:
                left.append((low, other_low - 1))
            low = other_high + 1
        if low <= last:
            left.append((low, last))
    return tuple(left)
