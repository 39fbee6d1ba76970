"""Where the names of the house come from."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from pipecatapp.adapters.tls.local_ca import ensure_certificates
from pipecatapp.app.allowed_hosts import FRONT_SERVICE, allowed_hosts
from pipecatapp.ports import Endpoint
from pipecatapp.settings import Settings
from testing.fakes.fake_directory import FakeDirectory

pytestmark = pytest.mark.unit


def settings(folder: Path, names: str = "") -> Settings:
    return Settings(TWIN_DATA_DIR=folder, TWIN_HOST_NAMES=names)  # type: ignore[call-arg]


def test_the_owners_names_and_the_machines_own_are_known(tmp_path: Path) -> None:
    names = allowed_hosts(settings(tmp_path, "twin.fritz.box, Twin.example.org"), FakeDirectory())()
    assert {"twin.fritz.box", "twin.example.org", socket.gethostname().lower()} <= names


def test_the_certificates_names_are_known(tmp_path: Path) -> None:
    ensure_certificates(tmp_path / "tls", ["mypc.fritz.box", "203.0.113.4"])
    assert {"mypc.fritz.box", "203.0.113.4"} <= allowed_hosts(settings(tmp_path), FakeDirectory())()


def test_machines_whose_front_is_in_consul_are_known_while_it_is(tmp_path: Path) -> None:
    directory = FakeDirectory()
    names = allowed_hosts(settings(tmp_path), directory)
    assert "attic.local" not in names()

    directory.put(
        Endpoint(
            service=FRONT_SERVICE,
            id="i",
            node="attic",
            address="203.0.113.8",
            port=8000,
            meta={"host": "OldPC.fritz.box"},
        )
    )
    assert {"attic", "attic.local", "203.0.113.8", "oldpc.fritz.box", "oldpc", "oldpc.lan"} <= names()

    directory.remove("i")
    assert "attic" not in names()
