"""The host names of this machine.

It owns what the system's files say of them; nobody is asked over the network, so it takes no time without
one.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from pathlib import Path

LOCAL_DOMAINS = ("local", "lan", "home", "home.arpa", "internal", "localdomain")
"""What the name of a machine at home may end in: mDNS (RFC 6762), RFC 8375, ICANN's private use, and what
routers give. Nobody can have such a name in the internet. `twin_house_domains` of group_vars/all.yaml is the
same list."""

HOSTS = Path("/etc/hosts")
RESOLVER = Path("/etc/resolv.conf")


def qualified_names(host: str, domains: Iterable[str]) -> set[str]:
    """Return what a machine called `host` answers to: that, its first part, and this in each of `domains`."""
    whole = host.lower().rstrip(".")
    first = whole.partition(".")[0]
    return {whole, first, *(f"{first}.{domain}" for domain in domains)} if first else set()


def local_domains(resolver: Path = RESOLVER) -> tuple[str, ...]:
    """Return what names in this house may end in: every house's domains, and what the resolver adds."""
    added = [word for key, *words in _lines(resolver) if key in ("search", "domain") for word in words]
    stripped = (word.lower().strip(".") for word in added)
    return tuple(dict.fromkeys([*LOCAL_DOMAINS, *filter(None, stripped)]))


def local_hostnames(host: str = "", hosts: Path = HOSTS, resolver: Path = RESOLVER) -> frozenset[str]:
    """Return this machine's names, in small letters.

    They are its host name, the same in each domain of a house, and what /etc/hosts has beside it.

    Args:
        host: Its host name; "" asks the system.
        hosts: Where names stand beside addresses; `hostname -f` takes its answer from there.
        resolver: Where the search domains stand.
    """
    host = host or socket.gethostname()
    names = qualified_names(host, local_domains(resolver))
    for _address, *called in _lines(hosts):
        called = [each.lower().rstrip(".") for each in called]
        if host.lower() in called:
            names.update(called)
    return frozenset(names)


def _lines(path: Path) -> list[list[str]]:
    """Return the words of each line that has two or more, without comments; none without the file."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    lines = (line.partition("#")[0].split() for line in text.splitlines())
    return [words for words in lines if len(words) > 1]
