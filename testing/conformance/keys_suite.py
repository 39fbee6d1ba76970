"""What every `ApiKeyStore` does.

It owns the claims. Subclass `KeysSuite` and give a fixture `keys` that holds nothing yet.
"""

from __future__ import annotations

from pipecatapp.ports import ApiKey, ApiKeyStore


def key(number: int) -> ApiKey:
    """Return a key unlike those of other numbers."""
    return ApiKey(
        id=f"id{number}",
        name=f"name {number}",
        digest=f"digest{number}",
        requests_per_minute=60,
        tokens_per_minute=0,
        created_s=float(number),
    )


class KeysSuite:
    async def test_is_a_store_that_holds_nothing_yet(self, keys: ApiKeyStore) -> None:
        assert isinstance(keys, ApiKeyStore)
        assert dict(keys.known()) == {}
        assert not await keys.remove("id1")

    async def test_a_key_is_known_by_its_digest_as_it_was_given(self, keys: ApiKeyStore) -> None:
        await keys.add(key(1))
        await keys.add(key(2))
        assert dict(keys.known()) == {"digest1": key(1), "digest2": key(2)}

    async def test_a_key_is_forgotten_once(self, keys: ApiKeyStore) -> None:
        await keys.add(key(1))
        await keys.add(key(2))
        assert await keys.remove("id1")
        assert not await keys.remove("id1")
        assert dict(keys.known()) == {"digest2": key(2)}

    async def test_a_key_may_come_back(self, keys: ApiKeyStore) -> None:
        await keys.add(key(1))
        await keys.remove("id1")
        await keys.add(key(1))
        assert dict(keys.known()) == {"digest1": key(1)}
