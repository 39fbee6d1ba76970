"""Whether a call's client is connected: that it comes at all, and that it has not vanished.

It owns how long either is waited for; what happens to the call then is `call`'s.
"""

from __future__ import annotations

import asyncio
from typing import Literal, Protocol

CONNECT_TIMEOUT_S = 15.0
"""Longest time from the offer to the connection (seconds). On a LAN it takes less than one; Chromium gives
an address up when its checks went unanswered for 15 s (CONNECTION_WRITE_TIMEOUT in its p2p_constants.cc)."""
PING_CHECK_S = 1.0
"""How often the client's pings are looked for (seconds)."""
LOST_CHECKS = 3
"""Checks in a row without a ping in the last 3 s (pipecat's own bound) after which the client is lost."""


class Link(Protocol):
    """What is known of a connection."""

    def is_connected(self) -> bool:
        """Whether the client is connected, and was heard of within the last 3 s if it pings at all."""


async def until_gone(
    link: Link, *, connect_timeout_s: float = CONNECT_TIMEOUT_S
) -> Literal["unreached", "lost"]:
    """Wait until the client has not come in time, or is gone.

    A client that was killed stops pinging long before ICE gives up (30 s). ICE may never tell of one that
    does not come, such as a phone whose UDP is blocked.

    Args:
        link: The connection; its offer has just been answered.
        connect_timeout_s: Longest wait for the client to connect (seconds, > 0).

    Returns:
        Which of the two it is, in the words of `CallEnded`.
    """
    if not await _comes(link, connect_timeout_s):
        return "unreached"
    misses = 0
    while misses < LOST_CHECKS:
        await asyncio.sleep(PING_CHECK_S)
        misses = 0 if link.is_connected() else misses + 1
    return "lost"


async def _comes(link: Link, timeout_s: float) -> bool:
    loop = asyncio.get_running_loop()
    end_s = loop.time() + timeout_s
    while not link.is_connected():
        left_s = end_s - loop.time()
        if left_s <= 0:
            return False
        await asyncio.sleep(min(PING_CHECK_S, left_s))
    return True
