"""Which `Host` of a request is one of ours.

It owns the rule; which names the house has is the composition root's to say. A page whose own name was made
to lead here (DNS rebinding) asks by that name, with an `Origin` that fits it: only the name tells it from
ours.
"""

from __future__ import annotations

import functools
import ipaddress
import re
import socket
from collections.abc import Collection

from starlette.datastructures import Headers

PRIVATE = (
    "0.0.0.0/32", "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16",
    "::/128", "::1/128", "fc00::/7", "fe80::/10",
)  # fmt: skip
"""Addresses that cannot be a stranger's: RFC 1122, 1918, 3927, 4193 and 4291. The front has the same list."""
_NETWORKS = tuple(ipaddress.ip_network(network) for network in PRIVATE)

_HOST = re.compile(
    r"(?:\[(?P<v6>[0-9a-f:.]+(?:%[\w.-]+)?)\]|(?P<name>[a-z0-9._-]+))(?::[0-9]*)?", re.IGNORECASE
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def requested_host(headers: Headers) -> str:
    """Return the name or address in `Host`, in small letters, without port, brackets and the dot at its end.

    It is "" when there is none, more than one, or nonsense.
    """
    given = headers.getlist("host")
    found = _HOST.fullmatch(given[0].strip()) if len(given) == 1 else None
    return (found["v6"] or found["name"].rstrip(".")).lower() if found else ""


def is_loopback_host(name: str) -> bool:
    """Whether `name` is an address, or the name, of a machine to itself."""
    address = _address(name)
    return name.lower() == "localhost" if address is None else address.is_loopback


def is_allowed_host(name: str, names: Collection[str]) -> bool:
    """Whether a caller who asked for `name` meant a machine of the house.

    Args:
        name: As `requested_host` returns it.
        names: The names and addresses of the house, in small letters.
    """
    if name == "localhost" or name in names:
        return True
    address = _address(name)
    if address is None:
        return False
    return any(address in network for network in _NETWORKS) or _is_own(address)


@functools.lru_cache(maxsize=256)
def _address(name: str) -> Address | None:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_own(address: Address) -> bool:
    """Whether it is an address of this machine now: no other can be bound."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return not address.is_multicast and str(address) != "255.255.255.255"
