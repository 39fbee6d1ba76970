"""By which names a machine of the house may be asked for."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from pipecatapp.web.allowed_hosts import PRIVATE, is_allowed_host, requested_host
from testing.ansible_code import ROOT

pytestmark = pytest.mark.unit

FRONT = ROOT / "ansible/roles/ingress/templates/haproxy.cfg.j2"
NAMES = {"mypc", "mypc.fritz.box", "2001:db8::7"}


def asked(*hosts: str) -> str:
    return requested_host(Headers(raw=[(b"host", host.encode()) for host in hosts]))


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8000",
        "LOCALHOST.:8443",
        "127.0.0.1",
        "127.8.9.1:8000",
        "0.0.0.0:8000",
        "[::1]:8000",
        "[::1]",
        "10.1.2.3",
        "172.31.0.1:8000",
        "192.168.178.20:8443",
        "169.254.3.4",
        "[fe80::1]:8000",
        "[fe80::1%25eth0]:8000",
        "[FD00::5]:8000",
        "[::ffff:192.168.1.5]",
        "mypc:8000",
        "MyPC.Fritz.Box.:8000",
        "[2001:DB8::7]:8000",
    ],
)
def test_our_names_and_private_addresses_are_ours(host: str) -> None:
    assert is_allowed_host(asked(host), NAMES)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "mypc.evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "other.fritz.box",
        "203.0.113.9:8000",
        "172.32.0.1",
        "[2001:db8::8]:8000",
        "[::ffff:203.0.113.9]",
        "255.255.255.255",
        "224.0.0.1",
        "",
        ".",
        ":8000",
        "::1",
        "evil@localhost",
        "localhost:80@evil.example",
        "localhost:evil",
        "[localhost]",
        "localhost/evil",
        "local host",
        "0x7f.1",
        "2130706433",
    ],
)
def test_other_names_addresses_of_strangers_and_nonsense_are_not(host: str) -> None:
    assert not is_allowed_host(asked(host), NAMES)


def test_no_name_and_two_names_are_none() -> None:
    assert asked() == ""
    assert asked("localhost", "localhost") == ""


def test_the_front_lets_the_same_addresses_in() -> None:
    lines = [line for line in FRONT.read_text(encoding="utf-8").splitlines() if "-m ip " in line]
    assert sorted(network for line in lines for network in line.split("-m ip ")[1].split()) == sorted(PRIVATE)
