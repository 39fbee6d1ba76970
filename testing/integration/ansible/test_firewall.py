"""The firewall's rules, loaded by the real nft into a network of their own: who reaches what."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.ansible_code import ROOT
from testing.integration.ansible.test_role_values import values

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("nft"), reason="needs root and nft"),
]

INVENTORY = """\
controller_nodes:
  hosts:
    den: {ansible_host: 10.77.3.11}
worker_nodes:
  hosts:
    attic: {ansible_host: 203.0.113.12}
"""
FACTS = {
    "default_ipv4": {"interface": "br-lan", "address": "198.51.100.11"},
    "br_lan": {
        "ipv4": {"address": "198.51.100.11", "prefix": "24"},
        "ipv6": [
            {"address": "2001:db8:1::11", "prefix": "64", "scope": "global"},
            {"address": "fe80::11", "prefix": "64", "scope": "link"},
        ],
    },
}
HOUSE = ["10.77.3.99", "192.168.1.5", "198.51.100.77", "2001:db8:1::99", "fd00::9"]
STRANGERS = ["203.0.113.9", "2001:db8:2::9", "8.8.8.8"]
NODE = "203.0.113.12"


def rules(folder: Path) -> dict[str, str]:
    """The rules of each machine."""
    template = ROOT / "ansible/roles/common/templates/firewall.nft.j2"
    role = ROOT / "ansible/roles/common"
    given = f"template_vars={{'ansible_facts': {FACTS}, 'role_path': '{role}'}}"
    wanted = {"text": f"{{{{ lookup('ansible.builtin.template', '{template}', {given}) }}}}"}
    found = values(folder, INVENTORY, ["common"], wanted)
    return {host: told["text"] for host, told in found.items()}


class Net:
    """Two namespaces with a cable between them; the rules are in force in the first."""

    def __init__(self) -> None:
        self.names = [f"wall{os.getpid()}a", f"wall{os.getpid()}b"]
        for name in self.names:
            subprocess.run(["ip", "netns", "add", name], check=True)
        a, b = self.names
        self.ip("link", "add", "br-lan", "netns", a, "type", "veth", "peer", "name", "other", "netns", b)
        for name, device in ((a, "br-lan"), (b, "other")):
            self.ip("-n", name, "link", "set", "lo", "up")
            self.ip("-n", name, "link", "set", device, "up")
        for family, address in (("-4", "198.51.100.11/24"), ("-6", "2001:db8:1::11/64")):
            self.ip("-n", a, "addr", "add", address, "dev", "br-lan", *(["nodad"] if family == "-6" else []))
            self.ip("-n", a, family, "route", "add", "default", "dev", "br-lan")
            target = address.split("/")[0]
            prefix = "32" if family == "-4" else "128"
            self.ip("-n", b, family, "route", "add", f"{target}/{prefix}", "dev", "other")

    def ip(self, *words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    def load(self, text: str) -> None:
        subprocess.run(
            ["ip", "netns", "exec", self.names[0], "nft", "-f", "-"], input=text, text=True, check=True
        )

    def close(self) -> None:
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False)

    def reaches(self, wanted: list[tuple[str, int]]) -> set[tuple[str, int]]:
        """Those sources and ports of which the machine lets the other side's packets in."""
        for source in {source for source, _ in wanted}:
            words = ["-6", "addr", "replace", f"{source}/128", "dev", "other", "nodad"]
            if ":" not in source:
                words = ["-4", "addr", "replace", f"{source}/32", "dev", "other"]
            self.ip("-n", self.names[1], *words)
        done = subprocess.run(
            ["ip", "netns", "exec", self.names[1], sys.executable, "-c", PROBE],
            input=json.dumps(wanted), capture_output=True, text=True, check=True,
        )  # fmt: skip
        return {(source, port) for source, port in json.loads(done.stdout)}


PROBE = """
import concurrent.futures, json, socket, sys
def let_in(pair):
    source, port = pair
    target = "2001:db8:1::11" if ":" in source else "198.51.100.11"
    try:
        socket.create_connection((target, port), timeout=5, source_address=(source, 0)).close()
    except ConnectionRefusedError:
        return True  # nobody listens there, and who says so is behind the firewall
    except OSError:
        return False
    return True
pairs = json.load(sys.stdin)
with concurrent.futures.ThreadPoolExecutor(64) as pool:
    print(json.dumps([pair for pair, good in zip(pairs, pool.map(let_in, pairs)) if good]))
"""
"""Says which sources and ports answer, be it that nobody listens there; a dropped packet has no answer."""


@pytest.fixture
def net() -> Iterator[Net]:
    found = Net()
    yield found
    found.close()


def test_the_house_reaches_our_ports_and_a_stranger_only_ssh(net: Net, tmp_path: Path) -> None:
    ours = [8000, 8443, 8500, 4646, 8071, 8072]
    texts = rules(tmp_path)
    net.load(texts["den"])
    pairs = [(source, port) for source in [*HOUSE, *STRANGERS] for port in [22, 4647, *ours]]
    expected = {(source, port) for source in HOUSE for port in [22, *ours]}
    assert net.reaches(pairs) == expected | {(source, 22) for source in STRANGERS}
    assert net.reaches([(NODE, 8071), (NODE, 8443), (NODE, 4647), (NODE, 9999)]) == {
        (NODE, 8071),
        (NODE, 8443),
        (NODE, 4647),
    }
    net.load(texts["attic"])
    pairs = [(source, port) for source in ("10.77.3.99", "10.77.3.11") for port in (8443, 8071, 4646)]
    assert net.reaches(pairs) == {("10.77.3.99", 8443), ("10.77.3.11", 8443), ("10.77.3.11", 4646)}


def test_a_reload_of_the_systems_firewall_brings_ours_back() -> None:
    unit = (ROOT / "ansible/roles/common/templates/twin-firewall.service.j2").read_text(encoding="utf-8")
    # /lib/systemd/system/nftables.service of Debian flushes everything at ExecReload too.
    assert "ReloadPropagatedFrom=nftables.service" in unit
    assert "ExecReload=/usr/sbin/nft -f" in unit
