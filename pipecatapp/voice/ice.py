"""ICE candidates of a call, and its jitter buffer.

It owns two facts about aiortc that its public interface does not let us set; calls are in `call`.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

JITTER_PACKETS = 2
"""Audio packets held back for order, 20 ms each; aiortc holds 4, which a wired LAN does not need."""


@functools.cache
def prepare_webrtc() -> None:
    """Set both facts, once a process.

    aioice leaves out loopback, so a machine with no network could not talk to itself: where no
    other address exists, 127.0.0.1 is offered. aiortc's audio receiver hard-codes its jitter buffer.
    """
    ice: Any = importlib.import_module("aioice.ice")
    receiver: Any = importlib.import_module("aiortc.rtcrtpreceiver")
    found = ice.get_host_addresses
    buffer = receiver.JitterBuffer

    def host_addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
        return list(found(use_ipv4, use_ipv6)) or ["127.0.0.1"]

    def jitter_buffer(capacity: int, prefetch: int = 0, is_video: bool = False) -> Any:
        return buffer(capacity, min(prefetch, JITTER_PACKETS), is_video)

    ice.get_host_addresses = host_addresses
    receiver.JitterBuffer = jitter_buffer
