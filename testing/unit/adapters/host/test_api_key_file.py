"""The file of keys: closed to others, whole at any time, read anew when it changes."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from pipecatapp.adapters.host.api_key_file import FILE_NAME, FileApiKeyStore
from pipecatapp.errors import AdapterError
from testing.conformance.keys_suite import KeysSuite, key

pytestmark = pytest.mark.unit


class TestKeyFile(KeysSuite):
    @pytest.fixture
    def keys(self, tmp_path: Path) -> FileApiKeyStore:
        return FileApiKeyStore(tmp_path)


async def test_another_process_sees_each_change(tmp_path: Path) -> None:
    store, other = FileApiKeyStore(tmp_path / "data"), FileApiKeyStore(tmp_path / "data")
    assert store.known() == {}
    await store.add(key(1))
    await other.add(key(2))
    assert list(store.known().values()) == [key(1), key(2)]
    assert await other.remove("id1") and not await other.remove("id1")
    assert list(store.known().values()) == [key(2)]


def test_the_file_is_closed_to_others(tmp_path: Path) -> None:
    asyncio.run(FileApiKeyStore(tmp_path).add(key(1)))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes[FILE_NAME] == 0o600 and set(modes.values()) == {0o600}


async def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    def add(number: int) -> None:
        asyncio.run(FileApiKeyStore(tmp_path).add(key(number)))

    await asyncio.gather(*(asyncio.to_thread(add, number) for number in range(8)))
    assert len(FileApiKeyStore(tmp_path).known()) == 8


async def test_a_file_that_is_gone_is_no_keys(tmp_path: Path) -> None:
    store = FileApiKeyStore(tmp_path)
    await store.add(key(1))
    (tmp_path / FILE_NAME).unlink()
    assert store.known() == {}


@pytest.mark.parametrize("content", ["", "{}", '[{"id": "x"}]', "[1]"])
def test_a_broken_file_is_told_not_overlooked(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE_NAME).write_text(content)
    with pytest.raises(AdapterError) as caught:
        FileApiKeyStore(tmp_path).known()
    assert caught.value.code == "keys-unreadable" and FILE_NAME in caught.value.message
