"""Hashes, locks and free space of the folders where files are kept.

It owns hashing, stamps (a file was hashed and has not changed since), locks between processes, and the
check for room. Everything lies in `.supply` below the folder of the files, so that a finished file is
moved into place by one rename.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipecatapp.artifacts.progress import megabytes
from pipecatapp.errors import ArtifactError

BLOCK_BYTES = 1 << 20
"""Read and write size; larger gains nothing on an SSD."""
MARGIN_BYTES = 64_000_000
"""Room that a download leaves free, for logs and the package client's own files."""
LOCK_POLL_S = 0.2
"""Time between two tries to get a lock."""
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Errors that mean that the disk, the quota or the limit is reached."""


class Workspace:
    """The `.supply` folder of `root`.

    Args:
        root: Folder of the files.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._state = root / ".supply"

    def partial(self, sha256: str) -> Path:
        """Where the bytes of a file with this hash gather."""
        return self._made("partial") / f"{sha256}.part"

    def carriers(self) -> Path:
        """Where packages lie while a file is taken out of them."""
        return self._made("carriers")

    def has_stamp(self, path: Path, sha256: str) -> bool:
        """Whether `path` was found to have this hash and has not been touched since."""
        try:
            stamp = json.loads(self._stamp(path).read_text(encoding="utf-8"))
            return bool(stamp == {"sha256": sha256, **_fingerprint(path)})
        except (OSError, ValueError):
            return False

    def stamp(self, path: Path, sha256: str) -> None:
        """Remember that `path` has this hash; where nothing can be written it is hashed again next time."""
        with suppress(OSError):
            target = self._stamp(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            draft = target.with_suffix(f".{os.getpid()}")
            draft.write_text(json.dumps({"sha256": sha256, **_fingerprint(path)}), encoding="utf-8")
            draft.replace(target)

    def forget(self, path: Path) -> None:
        """Drop the stamp of `path`."""
        with suppress(OSError):
            self._stamp(path).unlink()

    @contextmanager
    def lock(self, key: str, on_wait: Callable[[], None], *, timeout_s: float = 7200) -> Iterator[None]:
        """Hold the lock `key`; another process that wants it waits.

        Args:
            key: What is locked.
            on_wait: Called once when another process holds it.
            timeout_s: Longest wait (seconds).

        Raises:
            ArtifactError: The other process held it for too long.
        """
        path = self._made("locks") / f"{key}.lock"
        with path.open("w") as handle:
            deadline_s = time.monotonic() + timeout_s
            waited = False
            while not _try_lock(handle.fileno()):
                if not waited:
                    on_wait()
                    waited = True
                if time.monotonic() > deadline_s:
                    message = f"another process has held {path} for {timeout_s:.0f} s"
                    raise ArtifactError("supply-locked", message, hint="End it, or wait.", retryable=True)
                time.sleep(LOCK_POLL_S)
            yield

    def require_space(self, need_bytes: int, what: str) -> None:
        """Refuse to begin what cannot end.

        Raises:
            ArtifactError: There is less room than `need_bytes` and a margin.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        free_bytes = shutil.disk_usage(self.root).free
        if free_bytes < need_bytes + MARGIN_BYTES:
            raise ArtifactError(
                "disk-full",
                f"{what} needs {megabytes(need_bytes + MARGIN_BYTES)} in {self.root}, "
                f"which has {megabytes(free_bytes)} free.",
                hint="Free some room, or set TWIN_MODELS_DIR or TWIN_CACHE_DIR to a larger disk.",
                status=507,
            )

    def full(self, what: str, exc: OSError) -> ArtifactError:
        """Return the error for a disk that filled up under way."""
        return ArtifactError(
            "disk-full",
            f"{what}: no room left in {self.root} ({exc.strerror}); what was fetched is kept.",
            hint="Free some room and run the same command again: it goes on where it stopped.",
            status=507,
        )

    def _made(self, name: str) -> Path:
        folder = self._state / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise ArtifactError(
                "supply-folder",
                f"{folder} cannot be made: {exc.strerror}",
                hint="Run as the owner of the folder, or set TWIN_MODELS_DIR or TWIN_CACHE_DIR.",
            ) from exc
        return folder

    def _stamp(self, path: Path) -> Path:
        name = path.relative_to(self.root).as_posix().replace("/", "__")
        return self._state / "verified" / f"{name}.json"


def sha256_of(path: Path, on_bytes: Callable[[int], None] | None = None) -> str:
    """Return the SHA-256 of a file, in lower-case hexadecimal digits.

    Args:
        path: The file.
        on_bytes: Called with the number of bytes read so far.
    """
    digest = hashlib.sha256()
    count = 0
    with path.open("rb") as handle:
        while block := handle.read(BLOCK_BYTES):
            digest.update(block)
            count += len(block)
            if on_bytes is not None:
                on_bytes(count)
    return digest.hexdigest()


def size_of(path: Path) -> int:
    """Return the size of a file, 0 when there is none (bytes)."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def sync(path: Path) -> None:
    """Make sure that the file's bytes survive a loss of power."""
    with path.open("rb") as handle:
        os.fsync(handle.fileno())


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _fingerprint(path: Path) -> dict[str, int]:
    status = path.stat()
    return {"size_bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "inode": status.st_ino}
