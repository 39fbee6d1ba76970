"""The tool that tells the time and the date, here and in other places.

It owns the questions it is sure to understand and the sentences it answers with; zones are `timezones`'.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import Field

from pipecatapp.errors import ToolError
from pipecatapp.ports import Clock, ToolResult
from pipecatapp.tools.base import ToolFunction, tool
from pipecatapp.tools.timezones import find_zone

What = Literal["time", "date", "day", "month", "year"]
MAX_DAYS_AWAY = 3660
"""Days from today that may be asked for: ten years."""

_LEAD = (
    r"(?:(?:hey|hi|hello|okay|ok|so|and|well|please|twin|now)[, ]+)*"
    r"(?:(?:can|could|would|will) you (?:please )?)?"
    r"(?:(?:tell|give) (?:me|us) |do you (?:know|have) |i (?:want|need) to know |let me know )?"
)
_IS = r"(?:what(?:'s| is|s)? |which |is )?"
_TAIL = r"(?: it)?(?: is(?: it)?)?(?: do we have)?(?: right)?(?: now)?(?: today)?(?: please)?"
_DAY = r"(?P<away>today|tomorrow|yesterday|the day after tomorrow|the day before yesterday)"
_PATTERNS: tuple[tuple[What, str], ...] = (
    ("time", _IS + r"(?:the )?(?:current |exact |local )?time(?: is)?(?: it)?(?: right)?(?: now)?"
     r"(?: in (?:the )?(?P<place>[a-z .'/_-]+?))?(?: right)?(?: now)?(?: please)?"),
    ("time", r"how late is it(?: in (?P<place>[a-z .'/_-]+?))?(?: now)?"),
    ("date", _IS + r"(?:the )?(?:today's |todays |current )?date" + _TAIL),
    ("date", _IS + r"(?:the date|date)(?: of| is| is it)? " + _DAY),
    ("day", _IS + r"(?:the )?(?:current )?(?:day of the week|weekday|day)" + _TAIL),
    ("day", _IS + r"(?:the )?(?:weekday|day)(?: of the week)?(?: is| is it| was| was it| will it be)? "
     + _DAY),
    ("day", r"what is today|what(?:'s|s) today|what do we have today"),
    ("day", r"is it (?:monday|tuesday|wednesday|thursday|friday|saturday|sunday)(?: today)?"),
    ("month", _IS + r"(?:the )?(?:current )?month" + _TAIL),
    ("year", _IS + r"(?:the )?(?:current )?year" + _TAIL),
)  # fmt: skip
_QUESTIONS = tuple((what, re.compile(_LEAD + pattern)) for what, pattern in _PATTERNS)
_DAYS_AWAY = {
    "today": 0,
    "tomorrow": 1,
    "yesterday": -1,
    "the day after tomorrow": 2,
    "the day before yesterday": -2,
}


def read_question(text: str) -> Mapping[str, Any] | None:
    """Return the tool's arguments when `text` surely asks for the time or the date, else None.

    A place that is not known makes it unsure.
    """
    said = " ".join(
        re.sub(
            r"[?!.,;:]+(?=\s|$)", " ", text.casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
        ).split()
    )
    for what, pattern in _QUESTIONS:
        match = pattern.fullmatch(said)
        if match is None:
            continue
        found = match.groupdict()
        arguments: dict[str, Any] = {"what": what}
        if place := found.get("place"):
            if find_zone(place) is None:
                return None
            arguments["place"] = place
        if away := found.get("away"):
            arguments["days_away"] = _DAYS_AWAY[away]
        return arguments
    return None


@tool(
    examples=(
        "What time is it?",
        "What day is it today?",
        "What is today's date?",
        "Can you tell me the time?",
        "What time is it in Tokyo?",
        "Which month is it?",
        "What year do we have?",
        "What day is tomorrow?",
        "Do you know what the date is?",
    ),
    extract=read_question,
    timeout_s=2.0,
)
def clock(system_clock: Clock) -> ToolFunction:
    """Return the tool.

    Args:
        system_clock: What time it is.
    """

    async def execute(
        what: What = "time",
        place: str = "",
        days_away: Annotated[int, Field(ge=-MAX_DAYS_AWAY, le=MAX_DAYS_AWAY)] = 0,
    ) -> ToolResult:
        """Tell the current time, date, day of the week, month or year.

        Args:
            what: What is asked for.
            place: City or country whose time is wanted, or "" for here.
            days_away: Days from today: 0 today, 1 tomorrow, -1 yesterday.
        """
        now = _now(system_clock, place) + timedelta(days=days_away)
        speech = _sentence(what, now, place, days_away)
        return ToolResult(True, f"{speech} ({now.isoformat(timespec='minutes')})", speech=speech)

    return execute


def _now(system_clock: Clock, place: str) -> datetime:
    here = datetime.fromtimestamp(system_clock.wall_s()).astimezone()
    if not place.strip():
        return here
    zone = find_zone(place)
    if zone is None:
        raise ToolError(
            "unknown-place",
            f"I do not know the time zone of {place.strip()[:60]}; try the name of a large city.",
        )
    return here.astimezone(ZoneInfo(zone))


def _sentence(what: What, moment: datetime, place: str, days_away: int) -> str:
    there = f" in {_spoken_place(place)}" if place.strip() else ""
    date = f"{moment:%A}, {moment:%B} {moment.day}, {moment.year}"
    if what == "time":
        clock_time = f"{moment.hour % 12 or 12}:{moment:%M} {'AM' if moment.hour < 12 else 'PM'}"
        return f"It is {clock_time}{there}."
    if what == "month":
        return f"It is {moment:%B}{there}."
    if what == "year":
        return f"It is {moment.year}{there}."
    day = {0: "Today is", 1: "Tomorrow is", -1: "Yesterday was"}.get(days_away)
    if day is None:
        day = f"In {days_away} days it is" if days_away > 0 else f"{-days_away} days ago it was"
    return f"{day} {date}{there}."


def _spoken_place(place: str) -> str:
    said = place.strip().rpartition("/")[2].replace("_", " ")
    return said if said != said.casefold() else said.upper() if len(said) <= 2 else said.title()
