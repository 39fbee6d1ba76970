"""API keys of the gateway, as they are kept, and the store that keeps them.

Not here: making and checking a key (`gateway/api_keys`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key that was made.

    Args:
        id: Short name, from the digest.
        name: What a person calls it.
        digest: SHA-256 of the key, in hexadecimal digits; the key itself is nowhere.
        requests_per_minute: Limit; 0 for none.
        tokens_per_minute: Limit; 0 for none.
        created_s: When it was made (seconds since the epoch).
    """

    id: str
    name: str
    digest: str
    requests_per_minute: int
    tokens_per_minute: int
    created_s: float


@runtime_checkable
class ApiKeyStore(Protocol):
    """Where keys are kept."""

    def known(self) -> Mapping[str, ApiKey]:
        """Return the keys by digest, as they are now or were a few seconds ago; it waits for nobody.

        Raises:
            AdapterError: They cannot be read.
        """
        ...

    async def add(self, key: ApiKey) -> None:
        """Keep a key.

        Raises:
            AdapterError: It cannot be kept.
        """
        ...

    async def remove(self, key_id: str) -> bool:
        """Forget a key; False when there was none of that id.

        Raises:
            AdapterError: It cannot be forgotten.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
