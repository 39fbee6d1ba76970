"""Saved states in Consul's keys.

It owns their keys and pieces; their format is `memory/state_file`'s. A state is compressed, cut into pieces
below a key of its own, and counts once its entry in the index names that key.

    PREFIX/states/index/NAME          {"saved_s", "size_bytes", "pieces", "sha256"}
    PREFIX/states/data/SHA256/NNNN    a piece
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from pipecatapp.adapters.consul.kv import BULK_TIMEOUT_S, ConsulKv, Operation, delete_below, put
from pipecatapp.adapters.memory.state_folder import check_state_name, unknown_state
from pipecatapp.errors import AdapterError, ConfigError
from pipecatapp.ports import SavedState

PIECE_BYTES = 256_000
"""Size of a piece; in base64, and with the rest of its transaction, within Consul's bound."""
MAX_BYTES = 16_000_000
"""Largest compressed state: every server of Consul holds it in memory."""


class ConsulStates:
    """A SavedStates in Consul.

    Args:
        kv: The connection; closed by whoever made it.
        guard: Returns the operation that fails unless this instance leads.
        prefix: Where the keys are.
    """

    def __init__(self, kv: ConsulKv, guard: Callable[[], Operation], *, prefix: str) -> None:
        self._kv = kv
        self._guard = guard
        self._prefix = f"{prefix}/states"

    async def save(self, name: str, data: bytes, *, saved_s: float) -> SavedState:
        """Keep `data`; a reader sees the old copy or the new one.

        Raises:
            ConfigError: The name is wrong (422), or it is too large (507).
            AdapterError: Consul is away, or another instance leads.
        """
        check_state_name(name)
        packed = gzip.compress(data, mtime=0)
        if len(packed) > MAX_BYTES:
            raise ConfigError(
                "state-not-written",
                f"The state '{name}' is too large for Consul: {len(packed)} bytes, {MAX_BYTES} at most.",
                hint="Keep it as a file instead: GET /v1/state of the memory service.",
                status=507,
            )
        # Names share pieces of the same content, so each name has its own.
        sha = hashlib.sha256(name.encode() + b"\0" + packed).hexdigest()
        pieces = [packed[start : start + PIECE_BYTES] for start in range(0, len(packed), PIECE_BYTES)]
        former = await self._entry(name)
        for number, piece in enumerate(pieces):
            operations = [self._guard(), put(f"{self._prefix}/data/{sha}/{number:04d}", piece)]
            await self._kv.transact(operations, timeout_s=BULK_TIMEOUT_S)
        entry = {"saved_s": saved_s, "size_bytes": len(data), "pieces": len(pieces), "sha256": sha}
        operations = [self._guard(), put(f"{self._prefix}/index/{name}", json.dumps(entry).encode())]
        if former is not None and former["sha256"] != sha:
            operations.append(delete_below(f"{self._prefix}/data/{former['sha256']}/"))
        await self._kv.transact(operations)
        return SavedState(name, saved_s, len(data))

    async def load(self, name: str) -> bytes:
        """Return a copy.

        Raises:
            ConfigError: The name is wrong (422), or there is none (404).
            AdapterError: Consul is away, or the copy is damaged.
        """
        entry = await self._entry(check_state_name(name))
        if entry is None:
            raise unknown_state(name, await self.list())
        pieces = await self._kv.below(f"{self._prefix}/data/{entry['sha256']}/")
        packed = b"".join(piece.value for piece in sorted(pieces, key=lambda piece: piece.key))
        if hashlib.sha256(name.encode() + b"\0" + packed).hexdigest() != entry["sha256"]:
            raise AdapterError(
                "state-damaged", f"The saved state '{name}' is not whole in Consul.", status=422
            )
        try:
            return gzip.decompress(packed)
        except (OSError, EOFError, zlib.error) as exc:
            raise AdapterError("state-damaged", f"The saved state '{name}' is damaged.", status=422) from exc

    async def list(self) -> Sequence[SavedState]:
        """Return what is saved, newest first."""
        found = await self._kv.below(f"{self._prefix}/index/")
        states = []
        for entry in found:
            value = json.loads(entry.value)
            name = entry.key.rpartition("/")[2]
            states.append(SavedState(name, float(value["saved_s"]), int(value["size_bytes"])))
        return sorted(states, key=lambda saved: -saved.saved_s)

    async def _entry(self, name: str) -> dict[str, Any] | None:
        found = await self._kv.get(f"{self._prefix}/index/{name}")
        return None if found is None else dict(json.loads(found.value))
