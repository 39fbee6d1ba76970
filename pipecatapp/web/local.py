"""Whether a caller is on this very machine.

It owns that judgement; what a local caller may do is said by who asks.
"""

from __future__ import annotations

import functools
import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

TRUSTED_PROXIES = ["127.0.0.1", "::1"]
"""Whose word about a caller's address counts: the front, which runs on this machine and adds the address it
sees after whatever the caller wrote there. The server takes the last one that is not the front's own."""


@functools.lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether `host` is an address, or the name, of this machine to itself."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower() == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def is_local(scope: Scope) -> bool:
    """Whether a request comes from this machine, and was meant for it.

    The address alone does not tell. A page whose name was made to lead here (DNS rebinding) makes a browser
    on this machine ask, but by its own name, which is in `Host`; so does a proxy that tells of no caller.
    """
    client = scope.get("client")
    named = urlsplit("//" + Headers(scope=scope).get("host", "")).hostname or ""
    return client is not None and is_loopback(client[0]) and is_loopback(named)
