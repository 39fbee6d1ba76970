"""The API key of this machine's own language model server.

It owns the file that the server's and the agents' processes share; who asks for it is `app`'s and `cli`'s.

Without a key, any web page that is open on this machine could ask the server on its loopback port, and
read what it was asked.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import secrets
from pathlib import Path
from urllib.parse import urlsplit

from pipecatapp.errors import AdapterError

FILE_NAME = "llm.key"
KEY_BYTES = 32
"""Randomness of a key; 256 bits cannot be guessed."""


def ensure_llm_key(folder: Path) -> str:
    """Return the key in `folder`, made now if there is none; processes that ask at once get the same one.

    Raises:
        AdapterError: The folder cannot be written, or the file cannot be read.
    """
    path = folder / FILE_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            fresh = folder / f".{FILE_NAME}.{secrets.token_hex(8)}"
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(KEY_BYTES))
            # A link is made or not: of two processes one wins, and neither sees half a key.
            with contextlib.suppress(FileExistsError):
                os.link(fresh, path)
            fresh.unlink()
        return path.read_text().strip()
    except OSError as exc:
        raise AdapterError(
            "llm-key",
            f"The language model's key {path} cannot be made or read: {exc.strerror}.",
            hint=f"Let the user of the service read and write {folder}.",
        ) from exc


def is_loopback_url(url: str) -> bool:
    """Whether `url` leads to this machine itself."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
