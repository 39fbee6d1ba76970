"""Exact arithmetic on a text, and nothing else.

It owns which operations there are and how large a number may get; spoken forms are `spoken_math`'s. The
text is parsed to a syntax tree and only numbers, operators and six functions of it are ever evaluated.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from pipecatapp.errors import ToolError, ToolRetry

MAX_EXPRESSION_CHARS = 200
"""Longest expression: more than a person says in one breath, and shallow enough to parse safely."""
MAX_BITS = 4096
"""Size of a numerator or denominator (bits): over 1200 decimal digits, and still computed in microseconds."""
MAX_ROUND_DIGITS = 20
"""Digits after the point that `round` takes."""
DECIMALS = 4
"""Digits after the point of an answer; fewer than the owner can hear, enough to be right."""
EXACT_BELOW = 10**15
"""Whole numbers below are said in full; larger ones as a power of ten."""


def evaluate(expression: str) -> Fraction:
    """Return the value of an expression of numbers, `+ - * / // % **`, parentheses and the functions.

    Raises:
        ToolRetry: It is not arithmetic, or longer than `MAX_EXPRESSION_CHARS` allows after expansion.
        ToolError: It has no value, or a number gets larger than `MAX_BITS`.
    """
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as exc:
        raise ToolRetry("not-arithmetic", "That is not arithmetic that I can read.") from exc
    try:
        return _value(tree.body)
    except ZeroDivisionError as exc:
        raise ToolError("division-by-zero", "Nothing can be divided by zero.") from exc
    except OverflowError as exc:
        raise _too_large() from exc


def format_number(value: Fraction) -> tuple[str, bool]:
    """Return a number as a person writes it, and whether that is exact."""
    if value.denominator == 1 and abs(value) < EXACT_BELOW:
        return str(value.numerator), True
    if abs(value) >= EXACT_BELOW:
        return _as_power_of_ten(value)
    rounded = round(value, DECIMALS)
    if rounded == 0 or abs(value) < Fraction(1, 100):
        text = f"{float(value):.4g}"
        if "e" in text:
            return _as_power_of_ten(value)
        return text, Fraction(text) == value
    whole = f"{float(rounded):.{DECIMALS}f}".rstrip("0").rstrip(".")
    return whole, rounded == value


def _as_power_of_ten(value: Fraction) -> tuple[str, bool]:
    size = abs(value)
    exponent = len(str(size.numerator)) - len(str(size.denominator))
    if size < Fraction(10) ** exponent:
        exponent -= 1
    digits = round(size / Fraction(10) ** exponent, 3)
    sign = "-" if value < 0 else ""
    text = f"{sign}{float(digits):g} times 10 to the power of {exponent}"
    return text, digits * Fraction(10) ** exponent == size


def _value(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=bool()):
            pass
        case ast.Constant(value=int() as number):
            return _bounded(Fraction(number))
        case ast.Constant(value=float() as number) if math.isfinite(number):
            return _bounded(Fraction(repr(number)))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _bounded(_power(_value(left), _value(right)))
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _OPERATORS:
            return _bounded(_OPERATORS[type(operator)](_value(left), _value(right)))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            return _bounded(_call(name, [_value(argument) for argument in args]))
    raise ToolRetry(
        "not-arithmetic",
        "Only numbers, + - * / // % **, parentheses and these functions are allowed: "
        + ", ".join(sorted(_FUNCTIONS))
        + ".",
    )


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise _too_large()
    return value


def _too_large() -> ToolError:
    return ToolError("number-too-large", "That number is too large for me.")


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent == 0:
        return Fraction(1)
    if exponent.denominator == 1:
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if base in (0, 1, -1):  # as many multiplications as one likes: only the parity counts
            exponent = Fraction(exponent.numerator % 2 + 2 if exponent > 0 else exponent.numerator % 2 - 2)
        elif bits * abs(exponent.numerator) > MAX_BITS:
            raise _too_large()
        return base**exponent.numerator
    if base < 0:
        raise ToolError("no-real-number", "A negative number has no such power among the real numbers.")
    return Fraction(float(base) ** float(exponent))


def _square_root(values: Sequence[Fraction]) -> Fraction:
    (value,) = values
    if value < 0:
        raise ToolError("no-real-number", "A negative number has no square root among the real numbers.")
    above, below = math.isqrt(value.numerator), math.isqrt(value.denominator)
    if above * above == value.numerator and below * below == value.denominator:
        return Fraction(above, below)
    return Fraction(math.sqrt(value))


def _rounded(values: Sequence[Fraction]) -> Fraction:
    """Round half away from zero, as people are taught at school."""
    value, digits = values[0], values[1] if len(values) > 1 else Fraction(0)
    if digits.denominator != 1 or not 0 <= digits <= MAX_ROUND_DIGITS:
        raise ToolRetry("not-arithmetic", f"round takes 0 to {MAX_ROUND_DIGITS} digits.")
    scale = 10**digits.numerator
    size = math.floor(abs(value) * scale + Fraction(1, 2))
    return Fraction(size if value >= 0 else -size, scale)


def _call(name: str, values: Sequence[Fraction]) -> Fraction:
    least, most, function = _FUNCTIONS[name]
    if not least <= len(values) <= most:
        raise ToolRetry("not-arithmetic", f"{name} does not take {len(values)} numbers.")
    return function(values)


_OPERATORS: Mapping[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.FloorDiv: lambda a, b: Fraction(a // b),
    ast.Mod: lambda a, b: a % b,
}
_FUNCTIONS: Mapping[str, tuple[int, int, Callable[[Sequence[Fraction]], Fraction]]] = {
    "abs": (1, 1, lambda values: abs(values[0])),
    "max": (1, 20, max),
    "min": (1, 20, min),
    "percent": (2, 2, lambda values: values[0] * values[1] / 100),
    "round": (1, 2, _rounded),
    "sqrt": (1, 1, _square_root),
}
"""Name to fewest arguments, most arguments, function."""
