"""A network of its own for the machines that tests boot.

It owns a bridge in a network namespace, a namespace per host, and the way out to the package registries by
address translation. Whoever wants to reach the hosts' ports runs inside the bridge's namespace (`inside`).
"""

from __future__ import annotations

import itertools
import os
import subprocess
from pathlib import Path

GATEWAY = 1
"""Last number of the bridge's address."""
FIRST_HOST = 11
"""Last number of the first host's address."""


def ip(*arguments: str) -> None:
    """Run ip(8)."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def masquerade(table: str, match: str) -> str:
    """nftables' text of a table that gives packets that `match` this side's own address."""
    chain = "type nat hook postrouting priority 100;"
    return f"table ip {table} {{ chain post {{ {chain} {match} masquerade; }}; }}"


FREE_NUMBERS = 99
"""Networks below this number are anybody's; the others belong to disks that remember their addresses."""


def free_number() -> int:
    """A network's number that nobody on this machine uses."""
    numbers = ((os.getpid() + step) % FREE_NUMBERS for step in range(FREE_NUMBERS))
    return next(number for number in numbers if not Path(f"/run/netns/twin{number}").exists())


class Network:
    """The bridge, up from construction to `close`.

    Args:
        number: N of the addresses, 0 to 255: 10.77.N.0/24 inside, 198.18.N.0/30 to the outside; a free one
            below `FREE_NUMBERS` unless it is given.
    """

    def __init__(self, number: int | None = None) -> None:
        number = free_number() if number is None else number
        self.name = f"twin{number}"
        self.prefix = f"10.77.{number}"
        self._hosts: list[str] = []
        self._numbers = itertools.count(FIRST_HOST)
        outside = f"198.18.{number}"
        ip("netns", "add", self.name)
        try:
            self._build(outside)
        except BaseException:
            self.close()
            raise

    def _build(self, outside: str) -> None:
        name = self.name
        ip("-n", name, "link", "set", "lo", "up")
        ip("-n", name, "link", "add", "br0", "type", "bridge")
        ip("-n", name, "addr", "add", f"{self.prefix}.{GATEWAY}/24", "dev", "br0")
        ip("-n", name, "link", "set", "br0", "up")
        ip("link", "add", f"{name}up", "type", "veth", "peer", "name", "up0", "netns", name)
        ip("addr", "add", f"{outside}.1/30", "dev", f"{name}up")
        ip("link", "set", f"{name}up", "up")
        ip("-n", name, "addr", "add", f"{outside}.2/30", "dev", "up0")
        ip("-n", name, "link", "set", "up0", "up")
        ip("-n", name, "route", "add", "default", "via", f"{outside}.1")
        # Forwarding is a switch of each namespace.
        self.inside("sysctl", "-qw", "net.ipv4.ip_forward=1")
        subprocess.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"], check=True)
        self.inside("nft", masquerade("out", 'oifname "up0"'))
        rule = masquerade(name, f'ip saddr {outside}.0/30 oifname != "{name}up"')
        subprocess.run(["nft", rule], check=True)

    def command(self, *command: str) -> list[str]:
        """The command line that runs `command` inside the bridge's namespace."""
        return ["nsenter", f"--net=/run/netns/{self.name}", *command]

    def inside(self, *command: str) -> None:
        """Run a command inside the bridge's namespace."""
        subprocess.run(self.command(*command), check=True)

    def add_host(self) -> tuple[str, str]:
        """Make a host's namespace; return its name and the host's address."""
        number = next(self._numbers)
        host, address, port = f"{self.name}h{number}", f"{self.prefix}.{number}", f"v{number}"
        ip("netns", "add", host)
        self._hosts.append(host)
        ip("-n", self.name, "link", "add", port, "type", "veth", "peer", "name", "host0", "netns", host)
        ip("-n", self.name, "link", "set", port, "master", "br0", "up")
        ip("-n", host, "link", "set", "lo", "up")
        ip("-n", host, "addr", "add", f"{address}/24", "dev", "host0")
        ip("-n", host, "link", "set", "host0", "up")
        ip("-n", host, "route", "add", "default", "via", f"{self.prefix}.{GATEWAY}")
        return host, address

    def plug(self, address: str, *, is_in: bool) -> None:
        """Pull or put in the cable of the host that has this address."""
        ip("-n", self.name, "link", "set", f"v{address.rsplit('.', 1)[1]}", "up" if is_in else "down")

    def close(self) -> None:
        """Remove all of it."""
        for host in self._hosts:
            subprocess.run(["ip", "netns", "del", host], check=False, capture_output=True)
        subprocess.run(["nft", "delete", "table", "ip", self.name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", f"{self.name}up"], check=False, capture_output=True)
        if Path(f"/run/netns/{self.name}").exists():
            subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True)
