"""One-time tokens: their text, their store, and whether one is good.

It owns the store's format. Only a token's digest is kept: 130 random bits need no slow hash. A token's text
also carries the fingerprint of the house's authority, so that the joining machine knows whom it talks to.

The folder of the store is root's; the service reads it, and marks a token as used in a folder of its own.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import secrets
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

TEXT = re.compile(r"(?P<id>[a-z2-7]{6})\.(?P<secret>[a-z2-7]{26})\.(?P<fingerprint>[a-z2-7]{32})")
ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
"""Base 32 of RFC 4648 in small letters."""
ID_LENGTH, SECRET_LENGTH = 6, 26
FINGERPRINT_BYTES = 20
"""How much of the SHA-256 of the authority's certificate a token carries (bytes): 160 bits, no second
preimage."""
TTL_MIN_S, TTL_MAX_S = 60, 7 * 86400
"""Life of a token, from a minute to a week (seconds)."""
KEPT_S = 30 * 86400
"""How long the store remembers a token that is used or expired (seconds)."""
UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class JoinError(Exception):
    """What went wrong, as a sentence for a person."""


class Parts(NamedTuple):
    """A token's text, taken apart."""

    id: str
    secret: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Token:
    """What the store knows of a token."""

    id: str
    digest: str
    created_s: float
    expires_s: float
    """When it stops being good, as seconds since 1970."""


def parse(text: str) -> Parts:
    """Take a token's text apart.

    Raises:
        JoinError: It is not the text of a token.
    """
    found = TEXT.fullmatch(text.strip())
    if not found:
        raise JoinError(
            "This is no token; one is like abc234.(26 letters and digits).(32 letters and digits)."
        )
    return Parts(found["id"], found["secret"], found["fingerprint"])


def fingerprint_of(certificate_pem: str) -> str:
    """The fingerprint of an authority's certificate, as a token carries it.

    Raises:
        JoinError: The text is no certificate.
    """
    try:
        der = ssl.PEM_cert_to_DER_cert(certificate_pem.strip() + "\n")
    except ValueError as exc:
        raise JoinError("The authority's certificate cannot be read.") from exc
    return base64.b32encode(hashlib.sha256(der).digest()[:FINGERPRINT_BYTES]).decode("ascii").lower()


def seconds_of(text: str) -> int:
    """The seconds of `90s`, `30m`, `1h` or `2d`.

    Raises:
        JoinError: It is no such text, or out of bounds.
    """
    found = re.fullmatch(r"(\d{1,6})([smhd]?)", text.strip())
    seconds = int(found[1]) * UNITS_S[found[2] or "s"] if found else 0
    if not TTL_MIN_S <= seconds <= TTL_MAX_S:
        raise JoinError(f"'{text}' is no life of a token; it is from 1m to 7d, such as 30m or 1h.")
    return seconds


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("ascii")).hexdigest()


class Store:
    """The tokens of a folder.

    Args:
        folder: Has `tokens/` (root writes) and `used/` (the service writes).
    """

    def __init__(self, folder: Path) -> None:
        self._tokens = folder / "tokens"
        self._used = folder / "used"

    def create(self, ttl_s: int, fingerprint: str) -> str:
        """Make a token and return its text, which is nowhere else."""
        self._forget_old()
        now_s = time.time()
        name, secret = _random(ID_LENGTH), _random(SECRET_LENGTH)
        entry = {"digest": _digest(secret), "created_s": now_s, "expires_s": now_s + ttl_s}
        path = self._tokens / f"{name}.json"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(entry, file)
        # The service's group reads it, whatever umask or group the caller has.
        path.chmod(0o640)
        os.chown(path, -1, self._tokens.stat().st_gid)
        return f"{name}.{secret}.{fingerprint}"

    def all(self) -> list[Token]:
        """Every token that the store remembers, the oldest first."""
        found = [self._read(path.stem) for path in self._tokens.glob("*.json")]
        return sorted((token for token in found if token), key=lambda token: token.created_s)

    def is_used(self, name: str) -> bool:
        """Whether a machine has joined, or tried to, with this token."""
        return (self._used / name).exists()

    def used_by(self, name: str) -> str:
        """Who used it, as `name (address)`; "" when nobody did."""
        try:
            return (self._used / name).read_text(encoding="utf-8").strip()
        except OSError:
            return ""

    def revoke(self, name: str) -> None:
        """Forget a token.

        Raises:
            JoinError: There is none with this id.
        """
        try:
            (self._tokens / f"{name}.json").unlink()
        except FileNotFoundError:
            known = ", ".join(token.id for token in self.all()) or "none"
            raise JoinError(f"There is no token '{name}'; known: {known}.") from None

    def refusal(self, parts: Parts, *, now_s: float | None = None, may_be_used: bool = False) -> str:
        """Why a token is not good: "unknown", "used" or "expired"; "" when it is good.

        Who does not have the secret learns nothing but "unknown".
        """
        token = self._read(parts.id)
        if token is None or not hmac.compare_digest(token.digest, _digest(parts.secret)):
            return "unknown"
        if self.is_used(parts.id):
            return "" if may_be_used else "used"
        if (time.time() if now_s is None else now_s) >= token.expires_s:
            return "expired"
        return ""

    def use(self, parts: Parts, who: str) -> bool:
        """Mark a token as used by `who`; False when another was faster."""
        try:
            descriptor = os.open(self._used / parts.id, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return False
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(who + "\n")
        return True

    def _read(self, name: str) -> Token | None:
        if not re.fullmatch(rf"[{ALPHABET}]{{{ID_LENGTH}}}", name):
            return None
        try:
            entry = json.loads((self._tokens / f"{name}.json").read_text(encoding="utf-8"))
            return Token(name, str(entry["digest"]), float(entry["created_s"]), float(entry["expires_s"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _forget_old(self) -> None:
        for token in self.all():
            if token.expires_s + KEPT_S < time.time():
                (self._tokens / f"{token.id}.json").unlink(missing_ok=True)
