"""Whether a client is on this very machine.

It owns that judgement; what a local caller may do is said by who asks.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import Scope

from pipecatapp.web.allowed_hosts import is_loopback_host, requested_host

TRUSTED_PROXIES = ["127.0.0.1", "::1"]
"""Whose word about a caller's address counts: the front, which runs on this machine and adds the address it
sees after whatever the caller wrote there. The server takes the last one that is not the front's own."""


def is_local(scope: Scope) -> bool:
    """Whether a request comes from this machine, and was meant for it.

    The address alone does not tell: a proxy on this machine that tells of no caller asks by another name.
    """
    client = scope.get("client")
    return (
        client is not None
        and is_loopback_host(client[0])
        and is_loopback_host(requested_host(Headers(scope=scope)))
    )
