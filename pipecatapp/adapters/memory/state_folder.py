"""Saved states as files of one folder.

It owns their names and their safety on disk; their format is `memory/state_file`'s.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipecatapp.errors import ConfigError
from pipecatapp.files import write_atomic
from pipecatapp.ports import SavedState

SUFFIX = ".json"
"""How a state's file name ends."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def check_state_name(name: str) -> str:
    """Return `name`.

    Raises:
        ConfigError: It is not 1 to 64 letters, digits, `-` or `_` (422).
    """
    if not is_state_name(name):
        raise ConfigError(
            "state-name",
            f"{name!r} cannot name a saved state: use 1 to 64 letters, digits, '-' or '_',"
            " beginning with a letter or digit.",
            status=422,
        )
    return name


def is_state_name(name: str) -> bool:
    """Whether a state may be called so."""
    return _NAME.fullmatch(name) is not None


def unknown_state(name: str, saved: Iterable[SavedState]) -> ConfigError:
    """Return the error that there is no such state."""
    known = ", ".join(state.name for state in saved) or "none yet"
    return ConfigError("unknown-state", f"There is no saved state '{name}'; saved: {known}.", status=404)


class StateFolder:
    """A SavedStates in one folder.

    Args:
        folder: Made when absent, for its owner only.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def save(self, name: str, data: bytes, *, saved_s: float) -> SavedState:
        """Keep `data`; a reader sees the old file or the new one, never half of it.

        Raises:
            ConfigError: The name is wrong (422), or the file cannot be written (507).
        """
        path = self._folder / f"{check_state_name(name)}{SUFFIX}"
        try:
            await asyncio.to_thread(_write, path, data)
        except OSError as exc:
            raise ConfigError(
                "state-not-written",
                f"The state '{name}' could not be written: {exc.strerror}.",
                hint="Check the disk's space and the folder's owner.",
                status=507,
            ) from exc
        return SavedState(name, saved_s, len(data))

    async def load(self, name: str) -> bytes:
        """Return a copy.

        Raises:
            ConfigError: The name is wrong (422), or there is none (404).
        """
        path = self._folder / f"{check_state_name(name)}{SUFFIX}"
        try:
            return await asyncio.to_thread(path.read_bytes)
        except FileNotFoundError as exc:
            raise unknown_state(name, await self.list()) from exc
        except OSError as exc:
            raise ConfigError("state-not-read", f"'{path.name}' cannot be read: {exc.strerror}.") from exc

    async def list(self) -> Sequence[SavedState]:
        """Return what is saved, newest first; files that cannot be a state are left out."""
        return await asyncio.to_thread(_list, self._folder)


def _list(folder: Path) -> Sequence[SavedState]:
    states = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        if path.is_file() and is_state_name(path.stem):
            info = path.stat()
            states.append(SavedState(path.stem, info.st_mtime, info.st_size))
    return sorted(states, key=lambda saved: -saved.saved_s)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomic(path, data)
