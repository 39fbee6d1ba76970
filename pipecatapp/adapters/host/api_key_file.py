"""API keys of the gateway in a file of this machine.

It owns the file: its form, its mode, and that two programs that write at once lose nothing. A running agent
sees a change at its next request.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from pipecatapp.errors import AdapterError
from pipecatapp.files import write_atomic
from pipecatapp.ports import ApiKey

FILE_NAME = "gateway-keys.json"
_KEYS: TypeAdapter[list[ApiKey]] = TypeAdapter(list[ApiKey])


def keys_from_json(data: bytes) -> dict[str, ApiKey]:
    """Return the keys in `data`, by digest.

    Raises:
        ValueError: It is not a list of keys.
    """
    try:
        return {key.digest: key for key in _KEYS.validate_json(data)}
    except ValidationError as exc:
        raise ValueError(f"{exc.error_count()} faults") from exc


def keys_to_json(keys: Mapping[str, ApiKey]) -> bytes:
    """Return `keys` as JSON, oldest first."""
    ordered = sorted(keys.values(), key=lambda key: key.created_s)
    return json.dumps([asdict(key) for key in ordered], indent=1).encode() + b"\n"


class FileApiKeyStore:
    """Keys in a folder.

    Args:
        folder: Where the file is; TWIN_DATA_DIR.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self._seen: tuple[int, int, int] | None = None
        self._keys: dict[str, ApiKey] = {}

    def known(self) -> Mapping[str, ApiKey]:
        """Return the keys; the file is read when it has changed.

        Raises:
            AdapterError: `keys-unreadable`.
        """
        try:
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_size, status.st_ino)
            if seen != self._seen:
                self._keys = keys_from_json(self._path.read_bytes())
                self._seen = seen
        except FileNotFoundError:
            self._keys, self._seen = {}, None
        except (OSError, ValueError) as exc:
            raise AdapterError(
                "keys-unreadable",
                f"The gateway's keys in {self._path} cannot be read ({exc}).",
                hint="Put the file right, or remove it and make new keys.",
            ) from exc
        return self._keys

    async def add(self, key: ApiKey) -> None:
        """Keep a key.

        Raises:
            AdapterError: The file cannot be read or written.
        """
        with self._changing():
            self._write({**self.known(), key.digest: key})

    async def remove(self, key_id: str) -> bool:
        """Forget a key; False when there was none of that id.

        Raises:
            AdapterError: The file cannot be read or written.
        """
        with self._changing():
            kept = {digest: key for digest, key in self.known().items() if key.id != key_id}
            if len(kept) == len(self.known()):
                return False
            self._write(kept)
        return True

    async def close(self) -> None:
        """Do nothing: no file stays open."""

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Let nobody else write meanwhile."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(
                self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)
        except OSError as exc:
            raise AdapterError(
                "keys-unwritable",
                f"The gateway's keys in {self._path} cannot be written: {exc.strerror}.",
                hint="Run this as root, or as the user of the service.",
            ) from exc

    def _write(self, keys: Mapping[str, ApiKey]) -> None:
        # The service, which owns the folder, must read what root makes.
        write_atomic(self._path, keys_to_json(keys), like_folder=True)
