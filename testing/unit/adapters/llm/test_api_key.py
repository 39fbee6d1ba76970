"""The language model server's key.

It owns that every process of a machine gets the same key; that a server wants it is tested with the server.
"""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipecatapp.adapters.llm.api_key import FILE_NAME, ensure_llm_key, is_loopback_url
from pipecatapp.errors import AdapterError

pytestmark = pytest.mark.unit


def test_the_key_is_made_once_and_kept(tmp_path: Path) -> None:
    key = ensure_llm_key(tmp_path / "data")
    assert len(key) >= 40
    assert ensure_llm_key(tmp_path / "data") == key


def test_processes_that_ask_at_once_get_the_same_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(ensure_llm_key, [tmp_path] * 32))
    assert len(keys) == 1


def test_only_the_owner_reads_the_key(tmp_path: Path) -> None:
    ensure_llm_key(tmp_path)
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(AdapterError, match="cannot be made or read"):
        ensure_llm_key(tmp_path / "data")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8080/v1", True),
        ("http://localhost:8080/v1", True),
        ("http://[::1]:8080/v1", True),
        ("http://192.168.1.5:8080/v1", False),
        ("http://models.house:8080/v1", False),
    ],
)
def test_loopback_is_recognised(url: str, expected: bool) -> None:
    assert is_loopback_url(url) is expected
