"""Whom a client trusts."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from pipecatapp.adapters.tls.trust import client_context
from pipecatapp.errors import ConfigError

pytestmark = pytest.mark.unit


def test_without_a_file_the_systems_authorities_are_trusted() -> None:
    assert client_context(None).verify_mode is ssl.CERT_REQUIRED


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"/no/ca\.pem cannot be used") as caught:
        client_context(Path("/no/ca.pem"))
    assert caught.value.code == "ca-unreadable"


def test_a_file_that_is_no_certificate_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("no certificate", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        client_context(path, hint="Set OUR_CA.")
    assert (caught.value.code, caught.value.hint) == ("ca-unreadable", "Set OUR_CA.")
