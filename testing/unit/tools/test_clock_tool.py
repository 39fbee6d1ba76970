"""The time and the date, asked in many ways."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from pipecatapp.tools.clock_tool import clock, read_question
from pipecatapp.tools.registry import LocalToolBox
from pipecatapp.tools.timezones import SPOKEN_ZONES, find_zone
from testing.fakes.fake_clock import FakeClock

pytestmark = pytest.mark.unit

MOMENT_S = 1_763_910_300.0
"""Sunday, 23 November 2025, 15:05:00 UTC."""


@pytest.fixture(autouse=True)
def vienna(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Vienna")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


async def ask(**arguments: Any) -> str:
    result = await LocalToolBox([clock(FakeClock(MOMENT_S))]).call("clock", arguments, session_id="s")
    return result.speech


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("What time is it?", "It is 4:05 PM."),
        ("Hey Twin, can you tell me the time, please?", "It is 4:05 PM."),
        ("what's the time right now", "It is 4:05 PM."),
        ("What time is it in Tokyo?", "It is 12:05 AM in Tokyo."),
        ("what is the time in New York", "It is 10:05 AM in New York."),
        ("What time is it in India?", "It is 8:35 PM in India."),
        ("what time is it in the UK?", "It is 3:05 PM in UK."),
        ("What day is it today?", "Today is Sunday, November 23, 2025."),
        ("What's today's date?", "Today is Sunday, November 23, 2025."),
        ("Do you know what the date is?", "Today is Sunday, November 23, 2025."),
        ("What day is tomorrow?", "Tomorrow is Monday, November 24, 2025."),
        ("what day was it yesterday?", "Yesterday was Saturday, November 22, 2025."),
        ("What day is the day after tomorrow?", "In 2 days it is Tuesday, November 25, 2025."),
        ("Which month is it?", "It is November."),
        ("What year is it?", "It is 2025."),
        ("What year do we have?", "It is 2025."),
        ("Is it Monday today?", "Today is Sunday, November 23, 2025."),
    ],
)
async def test_what_people_ask_is_read_and_answered(asked: str, said: str) -> None:
    arguments = read_question(asked)
    assert arguments is not None
    assert await ask(**arguments) == said


@pytest.mark.parametrize(
    "text",
    [
        "What time is it in Narnia?",
        "What time is dinner?",
        "What day is Christmas?",
        "How was your day?",
        "What is the time complexity of sorting?",
        "I had no time today",
        "What is 17 times 23?",
        "",
    ],
)
def test_what_is_not_surely_about_the_time_is_left_to_others(text: str) -> None:
    assert read_question(text) is None


async def test_the_date_of_another_place_may_be_another_day() -> None:
    assert await ask(what="day", place="Tokyo") == "Today is Monday, November 24, 2025 in Tokyo."


async def test_an_unknown_place_is_told() -> None:
    assert await ask(place="Narnia") == (
        "I do not know the time zone of Narnia; try the name of a large city."
    )


async def test_midnight_and_noon_are_twelve() -> None:
    assert await ask(place="Asia/Tokyo") == "It is 12:05 AM in Tokyo."
    assert await ask(place="America/Noronha") == "It is 1:05 PM in Noronha."


@pytest.mark.parametrize(
    ("place", "zone"),
    [
        ("Tokyo", "Asia/Tokyo"),
        ("new york", "America/New_York"),
        ("New-York", "America/New_York"),
        ("Europe/Berlin", "Europe/Berlin"),
        ("Japan", "Japan"),
        ("kuala lumpur", "Asia/Kuala_Lumpur"),
        ("Narnia", None),
        ("", None),
        ("../../etc/passwd", None),
    ],
)
def test_places_have_zones(place: str, zone: str | None) -> None:
    assert find_zone(place) == zone


def test_every_spoken_place_has_a_zone_that_exists() -> None:
    from zoneinfo import ZoneInfo

    assert all(ZoneInfo(zone) for zone in SPOKEN_ZONES.values())
