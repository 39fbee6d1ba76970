"""What the system's files say of this machine's names."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pipecatapp.adapters.host.hostnames import LOCAL_DOMAINS, local_domains, local_hostnames

pytestmark = pytest.mark.unit

NOWHERE = Path("/nowhere")
REGISTRY = Path(__file__).resolve().parents[4] / "group_vars/all.yaml"


def test_a_machine_is_called_by_its_host_name_in_every_domain_of_a_house() -> None:
    names = local_hostnames("MyPC", NOWHERE, NOWHERE)
    assert {"mypc", "mypc.local", "mypc.lan", "mypc.home.arpa"} <= names
    assert "mypc.fritz.box" not in names


def test_a_host_name_with_a_domain_is_known_without_it_too() -> None:
    assert {"mypc.fritz.box", "mypc", "mypc.local"} <= local_hostnames("mypc.fritz.box", NOWHERE, NOWHERE)


def test_the_resolvers_domains_are_the_houses(tmp_path: Path) -> None:
    resolver = tmp_path / "resolv.conf"
    resolver.write_text(
        "# domain not.this\nnameserver 192.168.178.1\nsearch fritz.box Example.org.\ndomain .\n"
    )
    assert local_domains(resolver) == (*LOCAL_DOMAINS, "fritz.box", "example.org")
    assert {"mypc.fritz.box", "mypc.example.org"} <= local_hostnames("mypc", NOWHERE, resolver)


def test_what_stands_beside_the_host_name_in_the_hosts_file_is_its_name(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n127.0.1.1 mypc.house.example MYPC # mypc evil\n10.0.0.9 other\n\n")
    names = local_hostnames("mypc", hosts, NOWHERE)
    assert "mypc.house.example" in names
    assert not names & {"other", "evil", "localhost"}


def test_the_registry_has_the_same_domains() -> None:
    assert tuple(yaml.safe_load(REGISTRY.read_text())["twin_house_domains"]) == LOCAL_DOMAINS
