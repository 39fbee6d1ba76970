"""Only a caller that is on this machine, and means it, counts as local."""

from __future__ import annotations

import pytest

from pipecatapp.web.allowed_hosts import is_loopback_host
from pipecatapp.web.client_address import is_local

pytestmark = pytest.mark.unit


def scope(client: str, host: str) -> dict[str, object]:
    return {"type": "http", "client": (client, 1), "headers": [(b"host", host.encode())]}


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "localhost", "LOCALHOST"]
)
def test_this_machine_is_known_by_each_of_its_names(host: str) -> None:
    assert is_loopback_host(host)


@pytest.mark.parametrize(
    "host", ["192.168.1.5", "::ffff:192.168.1.5", "example.org", "", "127.0.0.1.example.org"]
)
def test_others_are_not_this_machine(host: str) -> None:
    assert not is_loopback_host(host)


@pytest.mark.parametrize(
    ("client", "host", "expected"),
    [
        ("127.0.0.1", "localhost:8000", True),
        ("::1", "[::1]:8000", True),
        ("192.168.1.5", "localhost:8000", False),
        ("127.0.0.1", "evil.example:8000", False),
        ("127.0.0.1", "", False),
        ("not an address", "localhost", False),
    ],
)
def test_both_the_address_and_the_name_must_be_this_machines(client: str, host: str, expected: bool) -> None:
    assert is_local(scope(client, host)) is expected


def test_a_caller_without_an_address_is_not_local() -> None:
    assert not is_local({"type": "http", "client": None, "headers": [(b"host", b"localhost")]})
