"""Evaluates a comparison.

It owns comparing a value with a literal; nothing of a file is ever evaluated as code.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping

from pipecatapp.workflow.model import Comparison, Operator

_OPERATORS: Mapping[Operator, Callable[[object, object], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,  # type: ignore[dict-item]
    "<=": operator.le,  # type: ignore[dict-item]
    ">": operator.gt,  # type: ignore[dict-item]
    ">=": operator.ge,  # type: ignore[dict-item]
}


def evaluate(comparison: Comparison, value: object) -> bool:
    """Return whether `value` compares as asked; None, a skipped output, never does."""
    if value is None:
        return False
    return bool(_OPERATORS[comparison.operator](value, comparison.literal))
