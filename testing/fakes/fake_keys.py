"""The gateway's keys in memory.

It owns what it was told, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipecatapp.ports import ApiKey


class FakeKeys:
    """Keys that are gone with the test."""

    def __init__(self) -> None:
        self._kept: dict[str, ApiKey] = {}

    def known(self) -> Mapping[str, ApiKey]:
        return dict(self._kept)

    async def add(self, key: ApiKey) -> None:
        self._kept[key.digest] = key

    async def remove(self, key_id: str) -> bool:
        before = len(self._kept)
        self._kept = {digest: key for digest, key in self._kept.items() if key.id != key_id}
        return len(self._kept) < before

    async def close(self) -> None:
        return None
