"""Strings and numbers in JSON schemas: which constraints are enforced, which are refused.

It owns one value that is neither an object nor an array, and how a refusal is said; the rest of a schema is
`translate`'s.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipecatapp.errors import GatewayError
from pipecatapp.gateway.json_schema.analysis import is_instance
from pipecatapp.gateway.json_schema.keywords import FORMATS, INTEGER_FORMATS, NUMBER_FORMATS
from pipecatapp.gateway.json_schema.regex import MAX_TIMES, PatternError, json_pattern

MOST_DIGITS = 10**15 - 1
"""Largest bound of an integer: what the converter writes without a bound has up to 16 digits."""


@dataclass(frozen=True, slots=True)
class Refusals:
    """How a schema is refused.

    Args:
        place: Where it is in the request.
        param: The request's parameter.
        is_strict: What cannot be enforced is refused; else it is left out.
    """

    place: str
    param: str
    is_strict: bool

    def refuse(self, at: str, why: str) -> None:
        """Say what is wrong; without strictness, let the caller go on without it.

        Raises:
            GatewayError: The schema is to be kept to as a whole.
        """
        if self.is_strict:
            raise self.wrong(at, why)

    def wrong(self, at: str, why: str) -> GatewayError:
        """Return what is said of a keyword at a JSON pointer."""
        message = f"{self.place} cannot be enforced at {at}: {why}."
        return GatewayError("invalid_json_schema", message, param=self.param)


class Scalars:
    """Writes what is bound of texts and numbers.

    Args:
        refusals: How something is refused.
    """

    def __init__(self, refusals: Refusals) -> None:
        self._refuse = refusals.refuse
        self._wrong = refusals.wrong

    def count_of(self, words: Mapping[str, Any], name: str, at: str) -> int | None:
        """Return how many may be there. An upper limit is lowered to what the grammar's reader keeps to."""
        value = words.get(name)
        if value is None:
            return None
        if not is_instance(value, "integer") or value < 0:
            self._refuse(f"{at}/{name}", f"{name} must be a whole number from 0")
            return None
        if value > MAX_TIMES and name.startswith("min"):
            self._refuse(f"{at}/{name}", f"{name} can be {MAX_TIMES} at most")
            return None
        return min(int(value), MAX_TIMES)

    def check_order(self, low: float, high: float | None, at: str) -> None:
        """Refuse limits between which there is nothing.

        Raises:
            GatewayError: There is nothing, be the schema strict or not.
        """
        if high is not None and high < low:
            raise self._wrong(at, "it is below the lower limit, so nothing is allowed")

    def string(self, words: Mapping[str, Any], at: str) -> dict[str, Any]:
        """Return what is sent for a text."""
        least = self.count_of(words, "minLength", at) or 0
        most = self.count_of(words, "maxLength", at)
        self.check_order(least, most, f"{at}/maxLength")
        pattern, form = words.get("pattern"), words.get("format")
        if pattern is not None:
            for name in ("format", "minLength", "maxLength"):
                if words.get(name):
                    self._refuse(
                        f"{at}/{name}", f"{name} beside pattern has no effect; write it into pattern"
                    )
            if isinstance(pattern, str):
                return self._matching(pattern, f"{at}/pattern")
            self._refuse(f"{at}/pattern", "pattern must be a string")
        if form is not None:
            for name in ("minLength", "maxLength"):
                if words.get(name):
                    self._refuse(f"{at}/{name}", f"{name} beside format has no effect")
            if isinstance(form, str) and form in FORMATS:
                return self._matching(FORMATS[form], f"{at}/format")
            known = ", ".join(FORMATS)
            self._refuse(f"{at}/format", f"format is one of {known}; {form!r} is none of them")
        schema: dict[str, Any] = {"type": "string"}
        if least:
            schema["minLength"] = least
        return schema if most is None else {**schema, "maxLength": most}

    def _matching(self, pattern: str, at: str) -> dict[str, Any]:
        try:
            return {"type": "string", "pattern": json_pattern(pattern)}
        except PatternError as exc:
            self._refuse(at, f"in the pattern {exc}")
            return {"type": "string"}

    def integer(self, words: Mapping[str, Any], at: str) -> dict[str, Any]:
        """Return what is sent for a whole number."""
        low, high = -math.inf, math.inf
        form = words.get("format")
        if isinstance(form, str) and form in INTEGER_FORMATS:
            low, high = INTEGER_FORMATS[form]
        elif form is not None:
            known = ", ".join(INTEGER_FORMATS)
            self._refuse(f"{at}/format", f"the format of an integer is one of {known}; {form!r} is none")
        for name in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"):
            value = words.get(name)
            if value is None:
                continue
            if not is_instance(value, "number"):
                self._refuse(f"{at}/{name}", f"{name} must be a number")
            elif name == "minimum":
                low = max(low, math.ceil(value))
            elif name == "exclusiveMinimum":
                low = max(low, math.floor(value) + 1)
            elif name == "maximum":
                high = min(high, math.floor(value))
            else:
                high = min(high, math.ceil(value) - 1)
        if words.get("multipleOf") not in (None, 1):
            self._refuse(f"{at}/multipleOf", "multipleOf can only be 1")
        self.check_order(low, high, at)
        if (low, high) == (-math.inf, math.inf):
            return {"type": "integer"}
        if low > MOST_DIGITS or high < -MOST_DIGITS:
            raise self._wrong(at, f"bounds of integers go up to {MOST_DIGITS}")
        # Always both: of one alone the converter makes numbers such as -0721, which is no JSON.
        low, high = max(low, -MOST_DIGITS), min(high, MOST_DIGITS)
        return {"type": "integer", "minimum": int(low), "maximum": int(high)}

    def number(self, words: Mapping[str, Any], at: str) -> dict[str, Any]:
        """Return what is sent for a number."""
        for name in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf"):
            if name in words:
                self._refuse(f"{at}/{name}", f"{name} is enforced for the type integer only")
        form = words.get("format")
        if form is not None and form not in NUMBER_FORMATS:
            known = ", ".join(NUMBER_FORMATS)
            self._refuse(f"{at}/format", f"the format of a number is one of {known}; {form!r} is none")
        return {"type": "number"}
