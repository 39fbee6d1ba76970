"""How long a call waits for its client, in virtual time.

It owns the two waits; what ends with them is tried over real connections.
"""

from __future__ import annotations

import asyncio

import pytest

from pipecatapp.voice.presence import CONNECT_TIMEOUT_S, until_gone
from testing.virtual_time import virtual_time

pytestmark = pytest.mark.unit


class TimedLink:
    """Connected from `from_s` on, except within `gaps` (from, to): seconds of the loop."""

    def __init__(self, from_s: float, *gaps: tuple[float, float]) -> None:
        self._from_s, self._gaps = from_s, gaps

    def is_connected(self) -> bool:
        now_s = asyncio.get_running_loop().time()
        return now_s >= self._from_s and not any(first <= now_s < last for first, last in self._gaps)


NEVER_S = float("inf")


async def gone(link: TimedLink) -> tuple[str, float]:
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    reason = await until_gone(link)
    return reason, loop.time() - start_s


@virtual_time
async def test_a_client_that_never_comes_is_waited_for_as_long_as_is_said() -> None:
    assert await gone(TimedLink(NEVER_S)) == ("unreached", pytest.approx(CONNECT_TIMEOUT_S))


@virtual_time
async def test_a_client_that_comes_late_is_there_until_it_is_gone() -> None:
    link = TimedLink(CONNECT_TIMEOUT_S - 0.5, (100.0, NEVER_S))

    assert await gone(link) == ("lost", pytest.approx(102, abs=1))


@virtual_time
async def test_a_gap_of_two_checks_is_forgiven() -> None:
    link = TimedLink(0.0, (20.0, 21.9), (60.0, NEVER_S))

    assert await gone(link) == ("lost", pytest.approx(62, abs=1))
