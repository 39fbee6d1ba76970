"""The tool that computes: exact arithmetic, written or spoken.

It owns the sentence that says the result; the grammar is `spoken_math`'s and the value `arithmetic`'s.
It runs no program: anything but arithmetic is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from pipecatapp.errors import ToolError
from pipecatapp.ports import ToolResult
from pipecatapp.tools.arithmetic import MAX_EXPRESSION_CHARS, evaluate, format_number
from pipecatapp.tools.base import ToolFunction, tool
from pipecatapp.tools.spoken_math import NotSpokenMath, find_phrase, speak_expression, to_expression

_COMMANDS = ("add ", "subtract ", "multiply ", "divide ")


def read_sum(text: str) -> Mapping[str, Any] | None:
    """Return the tool's arguments when `text` surely asks for a calculation, else None."""
    phrase = find_phrase(text)
    return None if phrase is None or len(phrase) > MAX_EXPRESSION_CHARS else {"expression": phrase}


@tool(
    examples=(
        "What is 17 times 23?",
        "How much is 250 plus 125?",
        "What is 12 percent of 80?",
        "Calculate 144 divided by 12",
        "What is half of 90?",
        "seventeen plus four",
        "What is the square root of 64?",
        "Add 5 and 9",
        "What is 2 to the power of 10?",
        "Subtract 30 from 100",
    ),
    extract=read_sum,
    timeout_s=2.0,
)
def code_runner() -> ToolFunction:
    """Return the tool."""

    async def execute(
        expression: Annotated[str, Field(min_length=1, max_length=MAX_EXPRESSION_CHARS)],
    ) -> ToolResult:
        """Calculate an arithmetic expression exactly.

        Args:
            expression: Arithmetic such as "17 * 23", "12 percent of 80" or "sqrt(2) + 1".
        """
        try:
            value = evaluate(to_expression(expression))
        except NotSpokenMath as exc:
            raise ToolError(
                "not-arithmetic",
                "I can only do arithmetic: running other code needs a sandbox, which I do not have yet.",
            ) from exc
        digits, is_exact = format_number(value)
        spoken = digits.replace("-", "minus ")
        about = "" if is_exact else "about "
        phrase = speak_expression(expression)
        if phrase.startswith(_COMMANDS):
            speech = f"The result is {about}{spoken}."
        else:
            speech = f"{phrase[:1].upper()}{phrase[1:]} is {about}{spoken}."
        return ToolResult(True, f"{about}{digits}", speech=speech)

    return execute
