"""Arithmetic, written and spoken: right, bounded, and nothing else."""

from __future__ import annotations

from fractions import Fraction

import pytest

from pipecatapp.errors import ToolError
from pipecatapp.tools.arithmetic import evaluate, format_number
from pipecatapp.tools.code_runner_tool import code_runner, read_sum
from pipecatapp.tools.number_words import read_cardinal
from pipecatapp.tools.registry import LocalToolBox

pytestmark = pytest.mark.unit


async def say(expression: str) -> str:
    result = await LocalToolBox([code_runner()]).call(
        "code_runner", {"expression": expression}, session_id="s"
    )
    return result.speech


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("What is 17 times 23?", "17 times 23 is 391."),
        ("What is 17 x 23?", "17 times 23 is 391."),
        ("what's 17*23", "17 times 23 is 391."),
        ("What is 250 plus 125?", "250 plus 125 is 375."),
        ("seventeen plus four", "Seventeen plus four is 21."),
        ("Twenty-three times a hundred and five.", "Twenty three times a hundred and five is 2415."),
        ("What is 12 percent of 80?", "12 percent of 80 is 9.6."),
        ("how much is 12% of 80", "12 percent of 80 is 9.6."),
        ("What is 20 percent off 50?", "20 percent off 50 is 40."),
        ("Hey Twin, what's half of 90?", "Half of 90 is 45."),
        ("a third of 10", "A third of 10 is about 3.3333."),
        ("Can you tell me what is 10 divided by 4, please?", "10 divided by 4 is 2.5."),
        ("Calculate the square root of 64", "The square root of 64 is 8."),
        ("what is the square root of 2", "The square root of 2 is about 1.4142."),
        ("What is 2 to the power of 10?", "2 to the power of 10 is 1024."),
        ("what is 2 to the 10th", "2 to the 10th is 1024."),
        ("what is five squared", "Five squared is 25."),
        ("Add 5 and 9", "The result is 14."),
        ("Subtract 30 from 100", "The result is 70."),
        ("what is the sum of 3 and 4", "The sum of 3 and 4 is 7."),
        ("5 minus 9", "5 minus 9 is minus 4."),
        ("What is minus 3 times 4?", "Minus 3 times 4 is minus 12."),
        ("what is 1,000 times 3", "1,000 times 3 is 3000."),
        ("3 million plus 5", "3 million plus 5 is 3000005."),
        ("three point one four times two", "Three point one four times two is 6.28."),
        ("one and a half times four", "One and a half times four is 6."),
        ("(3+4)*5", "(3 plus 4) times 5 is 35."),
        ("what is 2 + 3 * 4", "2 plus 3 times 4 is 14."),
        ("what does 3 plus 4 make?", "3 plus 4 is 7."),
        ("2 to the power of 100", "2 to the power of 100 is about 1.268 times 10 to the power of 30."),
        (
            "what is 1 divided by 3000000",
            "1 divided by 3000000 is about 3.333 times 10 to the power of minus 7.",
        ),
    ],
)
async def test_what_people_ask_is_read_and_answered(asked: str, said: str) -> None:
    arguments = read_sum(asked)
    assert arguments is not None
    assert await say(**arguments) == said


@pytest.mark.parametrize(
    "text",
    [
        "What is 17?",
        "What is love?",
        "Tell me about the number 7",
        "17 times",
        "times 23",
        "What is 17 times 23 and how are you?",
        "My number is 555-1234",
        "24/7",
        "2026-11-05",
        "I have two and a half cats",
        "What is the capital of France?",
        "Remember that 2 plus 2 is 4",
        "What time is it?",
        "x times y",
        "",
        "?" * 50,
        "(" * 5000,
        "9+" * 3000 + "9",
    ],
)
def test_what_is_not_surely_arithmetic_is_left_to_others(text: str) -> None:
    assert read_sum(text) is None


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2 + 3 * 4 - 1", 13),
        ("7 // 2 + 7 % 4", 6),
        ("-7 // 2", -4),
        ("2 ** -2", Fraction(1, 4)),
        ("0.1 + 0.2", Fraction(3, 10)),
        ("1 / 3 * 3", 1),
        ("sqrt(2.25)", Fraction(3, 2)),
        ("round(2.5) + round(-2.5)", 0),
        ("round(3.14159, 2)", Fraction(314, 100)),
        ("min(3, 1, 2) + max(3, 1, 2) + abs(-4)", 8),
        ("percent(12, 80)", Fraction(96, 10)),
        ("0 ** 0", 1),
        ("(-1) ** 99999999999", -1),
        ("1 ** 99999999999 + 0 ** 99999999999", 1),
        ("4 ** 0.5", 2),
    ],
)
def test_expressions_are_exact(expression: str, value: Fraction | int) -> None:
    assert evaluate(expression) == value


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("1 / 0", "divided by zero"),
        ("5 % 0", "divided by zero"),
        ("0 ** -1", "divided by zero"),
        ("9 ** 9 ** 9", "too large"),
        ("2 ** 5000", "too large"),
        ("9999999999 ** 999999", "too large"),
        ("2 ** -99999999", "too large"),
        ("(2 ** 4000) ** 0.5 * 2 ** 4000", "too large"),
        ("sqrt(-1)", "no square root"),
        ("(-8) ** 0.5", "real numbers"),
        ("round(1, 99)", "0 to 20 digits"),
        ("sqrt(1, 2)", "does not take 2"),
    ],
)
def test_what_has_no_value_or_is_too_large_is_refused(expression: str, why: str) -> None:
    with pytest.raises(ToolError, match=why):
        evaluate(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('id')",
        "open('/etc/passwd')",
        "(1).__class__",
        "[x for x in (1, 2)]",
        "lambda: 1",
        "'a' * 9",
        "True + True",
        "1 if 1 else 2",
        "1 < 2",
        "max(*(1, 2))",
        "round(number=1)",
        "1j * 1j",
        "1e999",
        "a",
        "",
        "1 +",
        "1; 2",
    ],
)
async def test_anything_but_arithmetic_is_refused(expression: str) -> None:
    with pytest.raises(ToolError):
        evaluate(expression)
    result = await LocalToolBox([code_runner()]).call(
        "code_runner", {"expression": expression}, session_id="s"
    )
    assert not result.ok


async def test_the_refusal_says_what_is_missing() -> None:
    assert "sandbox" in await say("print('hello')")


@pytest.mark.parametrize(
    ("words", "digits", "used"),
    [
        ("twenty three", "23", 2),
        ("one hundred and five", "105", 4),
        ("a thousand", "1000", 2),
        ("two thousand three hundred forty five apples", "2345", 6),
        ("one million two hundred thousand", "1200000", 5),
        ("nineteen", "19", 1),
        ("zero point zero five", "0.05", 4),
        ("five and six", "5", 1),
        ("twenty ten", "20", 1),
        ("a dog", "", 0),
        ("hundred", "", 0),
        ("three point", "3", 1),
    ],
)
def test_number_words_are_read_as_far_as_they_go(words: str, digits: str, used: int) -> None:
    assert read_cardinal(words.split()) == (digits, used)


@pytest.mark.parametrize(
    ("value", "text", "is_exact"),
    [
        (Fraction(391), "391", True),
        (Fraction(-7, 2), "-3.5", True),
        (Fraction(10, 3), "3.3333", False),
        (Fraction(1, 1000), "0.001", True),
        (Fraction(10**15), "1 times 10 to the power of 15", True),
        (Fraction(0), "0", True),
        (Fraction(199999, 100000), "2", False),
    ],
)
def test_numbers_are_written_for_people(value: Fraction, text: str, is_exact: bool) -> None:
    assert format_number(value) == (text, is_exact)
