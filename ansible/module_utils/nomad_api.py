"""Asking Nomad over its HTTP interface, with nothing but Python's own library.

It owns the connection, the token and the words of an error; what is asked is the modules' business.
"""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

TIMEOUT_S = 30.0
"""Longest wait for one answer (seconds)."""
LEADERLESS_S = 30.0
"""How long an election or a restart of Nomad is waited for (seconds); one takes a few."""
RETRY_S = 1.0
"""Seconds between two tries."""


class NomadError(Exception):
    """Nomad refused, or cannot be reached; the text is for a person."""


def takes_jobs(node: dict[str, Any]) -> bool:
    """Whether a node, as Nomad lists it, is given jobs."""
    return bool(node["Status"] == "ready" and node["SchedulingEligibility"] == "eligible")


class Nomad:
    """One Nomad.

    Args:
        address: Where it answers, such as https://127.0.0.1:4646.
        ca: File of the authority that signed its certificate.
        token_file: File with the token, or None for none.
    """

    def __init__(self, address: str, *, ca: str | None, token_file: str | None) -> None:
        self._address = address.rstrip("/")
        self._context = ssl.create_default_context(cafile=ca) if ca else None
        self._token = ""
        if token_file:
            try:
                self._token = Path(token_file).read_text(encoding="utf-8").strip()
            except OSError as exc:
                raise NomadError(f"Nomad's token {token_file} cannot be read: {exc.strerror}.") from exc

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Return what it answers.

        Raises:
            NomadError: It refused or does not answer.
        """
        found = self._ask(method, path, body)
        if found is None:
            raise NomadError(f"Nomad knows no {path}.")
        return found[0]

    def find(self, path: str) -> Any:
        """Return what is at `path`, or None when nothing is.

        Raises:
            NomadError: It refused or does not answer.
        """
        found = self._ask("GET", path, None)
        return None if found is None else found[0]

    def text(self, path: str) -> str:
        """Return what is at `path`, as it is; "" when nothing is.

        Raises:
            NomadError: It refused or does not answer.
        """
        found = self._read("GET", path, None)
        return (found or b"").decode(errors="replace")

    def _ask(self, method: str, path: str, body: Any) -> tuple[Any] | None:
        found = self._read(method, path, body)
        if found is None:
            return None
        return (json.loads(found) if found else None,)

    def _read(self, method: str, path: str, body: Any) -> bytes | None:
        """Return the answer's bytes, None when there is nothing at `path`."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._address + path, data=data, method=method)
        request.add_header("Content-Type", "application/json")
        if self._token:
            request.add_header("X-Nomad-Token", self._token)
        deadline_s = time.monotonic() + LEADERLESS_S
        while True:
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=self._context) as answer:
                    return bytes(answer.read())
            except urllib.error.HTTPError as exc:
                if exc.code == 404:
                    return None
                told = exc.read().decode(errors="replace").strip()
                if exc.code < 500 or "leader" not in told or time.monotonic() > deadline_s:
                    raise NomadError(f"Nomad refused {method} {path}: {told or exc.reason}") from exc
            except (urllib.error.URLError, TimeoutError, ConnectionError) as exc:
                if time.monotonic() > deadline_s:
                    reason = getattr(exc, "reason", exc)
                    raise NomadError(
                        f"Nomad does not answer at {self._address}: {reason}."
                        " Look at it with: systemctl status nomad"
                    ) from exc
            time.sleep(RETRY_S)
