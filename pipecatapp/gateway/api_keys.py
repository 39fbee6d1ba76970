"""API keys: creating, recognising and revoking them.

It owns what a key is; where keys are kept is behind the port `ApiKeyStore`. Only a digest is kept: a key has
256 random bits, which no guessing finds, so that a plain SHA-256 is enough.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence

from pipecatapp.errors import ConfigError
from pipecatapp.ports import ApiKey, ApiKeyStore, Clock

PREFIX = "twin-"
"""What every key begins with, so that one is known when it is seen where it should not be."""
KEY_BYTES = 32
"""Randomness of a key (bytes)."""
ID_CHARS = 8
"""Length of the name that a key is revoked by; it is made of the digest and tells nothing of the key."""
MAX_KEYS = 200
"""Keys that can be good at a time; a house has a handful of programs."""
_NAME = re.compile(r"[\w][\w .@:-]{0,63}")


def digest_of(secret: str) -> str:
    """Return what is kept of a key."""
    return hashlib.sha256(secret.encode()).hexdigest()


async def create_key(
    store: ApiKeyStore, clock: Clock, name: str, *, requests_per_minute: int, tokens_per_minute: int
) -> tuple[str, ApiKey]:
    """Make and keep a key; return the key itself, which is not kept, and what is.

    Raises:
        ConfigError: The name or a limit is not valid, or is taken, or there are too many keys.
        AdapterError: The key cannot be kept.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError("key-name", f"{name!r} is no name; valid: up to 64 letters, digits and .@:-_")
    if requests_per_minute < 0 or tokens_per_minute < 0:
        raise ConfigError("key-limit", "A limit is a number from 1, or 0 for none.")
    known = store.known()
    if any(key.name == name for key in known.values()):
        raise ConfigError(
            "key-name-taken", f"There is a key called {name!r}; revoke it, or take another name."
        )
    if len(known) >= MAX_KEYS:
        raise ConfigError("too-many-keys", f"There are {MAX_KEYS} keys already; revoke those nobody uses.")
    secret = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    digest = digest_of(secret)
    key = ApiKey(
        id=digest[:ID_CHARS],
        name=name,
        digest=digest,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        created_s=clock.wall_s(),
    )
    await store.add(key)
    return secret, key


def by_age(keys: Mapping[str, ApiKey]) -> Sequence[ApiKey]:
    """Return keys, oldest first."""
    return sorted(keys.values(), key=lambda key: key.created_s)
