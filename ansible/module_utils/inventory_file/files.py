"""The inventory's file: a change is one step, under a lock, with a backup beside it.

It owns the lock and the write; what is written is `changes`' business.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .reading import InventoryError

LOCK_TIMEOUT_S = 30.0
"""How long a change waits for another one that is at work (seconds)."""
BACKUP_SUFFIX = ".backup"
"""What the file was before the last change is kept beside it under its name with this at the end."""


@contextlib.contextmanager
def locked(folder: Path, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
    """Hold the folder's lock, so that two changes come one after the other.

    Raises:
        InventoryError: Another change has held it for `timeout_s` (seconds).
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as exc:
                if time.monotonic() >= deadline_s:
                    raise InventoryError(
                        f"Another change of the inventory in {folder} is at work; try again when it is over."
                    ) from exc
                time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def change_file(
    path: Path, change: Callable[[str], str], *, dry_run: bool = False, timeout_s: float = LOCK_TIMEOUT_S
) -> bool:
    """Apply `change` to the file in one step, with a backup beside it; return whether it changed.

    The owner, the group and the mode stay. A link is followed, so that the file it names is changed.

    Raises:
        InventoryError: The change is refused, or the file cannot be read or written.
    """
    path = path.resolve()
    try:
        with locked(path.parent, timeout_s):
            before = path.read_text(encoding="utf-8")
            after = change(before)
            if after == before:
                return False
            if not dry_run:
                _write(path.with_name(path.name + BACKUP_SUFFIX), before, like=path)
                _write(path, after, like=path)
            return True
    except OSError as exc:
        raise InventoryError(f"The inventory {path} cannot be changed: {exc.strerror}.") from exc


def _write(path: Path, text: str, *, like: Path) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    kept = like.stat()
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(descriptor, kept.st_mode & 0o777)
            if os.geteuid() == 0:
                os.fchown(descriptor, kept.st_uid, kept.st_gid)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
