"""Time zones by the names of places that people say.

It owns the way from a spoken name to an IANA zone; the zones themselves are the system's.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Mapping
from functools import cache

SPOKEN_ZONES: Mapping[str, str] = {
    # Countries with one zone, and cities that IANA lists under a neighbour (tz database, zone1970.tab).
    "austria": "Europe/Vienna",
    "bangalore": "Asia/Kolkata",
    "barcelona": "Europe/Madrid",
    "beijing": "Asia/Shanghai",
    "belgium": "Europe/Brussels",
    "boston": "America/New_York",
    "britain": "Europe/London",
    "california": "America/Los_Angeles",
    "cape town": "Africa/Johannesburg",
    "china": "Asia/Shanghai",
    "cologne": "Europe/Berlin",
    "delhi": "Asia/Kolkata",
    "denmark": "Europe/Copenhagen",
    "england": "Europe/London",
    "finland": "Europe/Helsinki",
    "florence": "Europe/Rome",
    "france": "Europe/Paris",
    "geneva": "Europe/Zurich",
    "germany": "Europe/Berlin",
    "great britain": "Europe/London",
    "greece": "Europe/Athens",
    "greenwich": "UTC",
    "hamburg": "Europe/Berlin",
    "hawaii": "Pacific/Honolulu",
    "houston": "America/Chicago",
    "hungary": "Europe/Budapest",
    "india": "Asia/Kolkata",
    "ireland": "Europe/Dublin",
    "italy": "Europe/Rome",
    "kyoto": "Asia/Tokyo",
    "las vegas": "America/Los_Angeles",
    "lyon": "Europe/Paris",
    "marseille": "Europe/Paris",
    "miami": "America/New_York",
    "milan": "Europe/Rome",
    "mumbai": "Asia/Kolkata",
    "munich": "Europe/Berlin",
    "netherlands": "Europe/Amsterdam",
    "new delhi": "Asia/Kolkata",
    "norway": "Europe/Oslo",
    "osaka": "Asia/Tokyo",
    "philadelphia": "America/New_York",
    "poland": "Europe/Warsaw",
    "romania": "Europe/Bucharest",
    "san diego": "America/Los_Angeles",
    "san francisco": "America/Los_Angeles",
    "scotland": "Europe/London",
    "seattle": "America/Los_Angeles",
    "south africa": "Africa/Johannesburg",
    "south korea": "Asia/Seoul",
    "sweden": "Europe/Stockholm",
    "switzerland": "Europe/Zurich",
    "thailand": "Asia/Bangkok",
    "the netherlands": "Europe/Amsterdam",
    "uk": "Europe/London",
    "united kingdom": "Europe/London",
    "venice": "Europe/Rome",
    "vietnam": "Asia/Ho_Chi_Minh",
    "wales": "Europe/London",
    "washington": "America/New_York",
}

_FOLDERS_OF_CITIES = {
    *("Africa", "America", "Antarctica", "Arctic", "Asia"),
    *("Atlantic", "Australia", "Europe", "Indian", "Pacific"),
}


def find_zone(place: str) -> str | None:
    """Return the IANA zone of a city, a country with one zone, or a zone's own name; None when unknown."""
    said = _plain(place)
    if not said:
        return None
    return SPOKEN_ZONES.get(said) or _zones_by_name().get(said)


@cache
def _zones_by_name() -> Mapping[str, str]:
    """Return every zone by what it is called; of two cities of one name the first in the alphabet counts."""
    by_name: dict[str, str] = {}
    for zone in sorted(zoneinfo.available_timezones()):
        folder, _, city = zone.rpartition("/")
        by_name[_plain(zone)] = zone
        if not folder or folder.split("/")[0] in _FOLDERS_OF_CITIES:
            by_name.setdefault(_plain(city), zone)
    return by_name


def _plain(text: str) -> str:
    words = re.sub(r"[^a-z0-9/+]+", " ", text.casefold().replace("_", " "))
    return " ".join(words.split())
