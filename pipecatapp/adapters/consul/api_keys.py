"""API keys of the gateway in Consul, the same for every agent of a cluster.

It owns the one key of Consul that holds them, and looking at it again and again: an agent answers from what
it saw last, and goes on with that while Consul is away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from pipecatapp.adapters.consul.kv import ConsulKv, put_if
from pipecatapp.adapters.host.api_key_file import keys_from_json, keys_to_json
from pipecatapp.errors import AdapterError
from pipecatapp.ports import REPLICA_FENCED, ApiKey

log = logging.getLogger(__name__)

KEY = "twin/gateway/keys"
POLL_S = 2.0
"""Time between two looks (seconds): how long a key that was revoked may still be good."""
TRIES = 5
"""How often a change is tried that another one came before."""


class ConsulApiKeyStore:
    """Keys in Consul; made by `watch` or `open`.

    Args:
        consul: A connection, closed with this.
        poll_s: Time between two looks (seconds, > 0).
    """

    def __init__(self, consul: ConsulKv, *, poll_s: float = POLL_S) -> None:
        self._consul = consul
        self._poll_s = poll_s
        self._keys: dict[str, ApiKey] = {}
        self._index = 0
        self._failed = False
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def watch(cls, consul: ConsulKv, *, poll_s: float = POLL_S) -> ConsulApiKeyStore:
        """Return keys that are looked at again and again; none while Consul has not answered once."""
        keys = cls(consul, poll_s=poll_s)
        await keys._poll()
        keys._task = asyncio.create_task(keys._watch(), name="gateway-keys")
        return keys

    @classmethod
    async def open(cls, consul: ConsulKv) -> ConsulApiKeyStore:
        """Return keys as they are now, to change them.

        Raises:
            AdapterError: Consul does not answer, or the keys cannot be read.
        """
        keys = cls(consul)
        try:
            await keys._read()
        except BaseException:
            await consul.close()
            raise
        return keys

    def known(self) -> Mapping[str, ApiKey]:
        """Return the keys as they were at the last look."""
        return self._keys

    async def add(self, key: ApiKey) -> None:
        """Keep a key.

        Raises:
            AdapterError: Consul does not answer, or refuses the token.
        """
        await self._change(lambda keys: {**keys, key.digest: key})

    async def remove(self, key_id: str) -> bool:
        """Forget a key; False when there was none of that id.

        Raises:
            AdapterError: Consul does not answer, or refuses the token.
        """
        before = dict(self._keys)
        await self._change(lambda keys: {digest: key for digest, key in keys.items() if key.id != key_id})
        return len(self._keys) < len(before)

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._consul.close()

    async def _change(self, change: Callable[[Mapping[str, ApiKey]], dict[str, ApiKey]]) -> None:
        for attempt in range(1, TRIES + 1):
            await self._read()
            changed = change(self._keys)
            try:
                await self._consul.transact([put_if(KEY, keys_to_json(changed), self._index)])
            except AdapterError as exc:
                if exc.code == REPLICA_FENCED and attempt < TRIES:
                    continue
                raise
            self._keys = changed
            return

    async def _read(self) -> None:
        entry = await self._consul.get(KEY)
        try:
            self._keys = keys_from_json(entry.value) if entry is not None else {}
        except ValueError as exc:
            raise AdapterError(
                "keys-unreadable", f"The gateway's keys in Consul ({KEY}) cannot be read ({exc})."
            ) from exc
        self._index = entry.index if entry is not None else 0

    async def _poll(self) -> None:
        try:
            await self._read()
        except AdapterError as exc:
            if not self._failed:
                log.warning(
                    "The gateway's keys cannot be looked at; those known stay good", extra={"code": exc.code}
                )
            self._failed = True
        else:
            if self._failed:
                log.info("The gateway's keys are there again")
            self._failed = False

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            await self._poll()
