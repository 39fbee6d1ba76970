"""Files that are written whole or not at all.

Not here: which files there are, and what is in them.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

OWNER_ONLY = 0o600
"""Mode of what no other user may read."""


def write_atomic(path: Path, data: bytes, mode: int = OWNER_ONLY, *, like_folder: bool = False) -> None:
    """Write through a new file, so that a secret is never readable for others and a crash leaves the old one.

    Args:
        path: The file; its folder is there.
        data: All that is in it.
        mode: Its permissions, from its first moment on; less what the process's umask takes.
        like_folder: When root writes, the folder's owner owns the file.

    Raises:
        OSError: It cannot be written; the old file is as it was, and nothing else is left behind.
    """
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if like_folder and os.geteuid() == 0:
                owner = path.parent.stat()
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
