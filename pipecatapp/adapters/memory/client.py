"""HTTP client of the memory service, wherever it runs just now.

It owns which address is asked, for how long, and what each failure means; what is asked is
`remote`'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from pipecatapp.adapters.http.errors import HttpFault, map_http_errors
from pipecatapp.adapters.tls.trust import client_context
from pipecatapp.errors import AdapterError

CONNECT_TIMEOUT_S = 1.0
"""A machine of the LAN accepts within milliseconds; more means that it is gone (seconds)."""
READ_TIMEOUT_S = 2.0
"""Longest wait for a read (seconds): a turn goes on without it, and the workflow gives it three."""
WRITE_TIMEOUT_S = 2.5
"""Longest wait for a write (seconds); a later one is delivered from the queue."""
BULK_TIMEOUT_S = 120.0
"""Longest wait for what concerns the whole memory (seconds)."""
KEEP_ALIVE_S = 3.0
"""How long an idle connection is kept (seconds)."""
AWAY_S = 3.0
"""After waiting in vain, nobody waits for the service again for this long (seconds)."""

CA_HINT = "TWIN_MEMORY_CA names the PEM file of the authority that signed the memory service's certificate."

Urls = Callable[[], Sequence[str]]
"""Returns where the service may be, most likely first."""


class MemoryServiceClient:
    """A connection to whichever address answers.

    Args:
        urls: Where the service may be; asked for each request.
        token: Its token; "" for none.
        ca: Certificate authority (PEM) of https addresses; the system's when None.
        monotonic_s: Returns seconds that never go back.
    """

    def __init__(
        self,
        urls: Urls,
        token: str,
        *,
        ca: Path | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._urls = urls
        self._monotonic_s = monotonic_s
        self._last_good = ""
        self._away_until_s = float("-inf")
        self._is_away = False
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {token}"} if token else {},
            # Shorter than the service keeps an idle connection, so that none is used while it closes.
            limits=httpx.Limits(keepalive_expiry=KEEP_ALIVE_S),
            verify=client_context(ca, hint=CA_HINT) if ca else True,
            trust_env=False,
        )

    @property
    def url(self) -> str:
        """The address that answered last, else the first one known, or ""."""
        return self._last_good or next(iter(self._urls()), "")

    @property
    def is_away(self) -> bool:
        """Whether the last request failed."""
        return self._is_away

    async def send(
        self,
        method: str,
        path: str,
        *,
        json: Mapping[str, Any] | None = None,
        content: bytes | None = None,
        params: Mapping[str, str] | None = None,
        timeout_s: float,
        waits: bool = True,
    ) -> httpx.Response:
        """Return the first answer with success; each address is asked once.

        Args:
            method: Of HTTP.
            path: Begins with a slash.
            json: Body.
            content: Body, instead.
            params: Query.
            timeout_s: Longest wait for each address (seconds, > 0).
            waits: False fails at once when another call waited in vain a moment ago.

        Raises:
            AdapterError: `memory-away` or the service's own words, retryable: ask again later, under the same
                request id. Not retryable: it refused.
        """
        if not waits and self._monotonic_s() < self._away_until_s:
            raise self._away("did not answer a moment ago")
        urls = sorted(dict.fromkeys(self._urls()), key=lambda url: url != self._last_good)
        failure = self._away("is not known to Consul or TWIN_MEMORY_URL")
        for url in urls:
            try:
                with map_http_errors(partial(self._no_answer, url)):
                    reply = await self._client.request(
                        method,
                        f"{url.rstrip('/')}{path}",
                        json=json,
                        content=content,
                        params=params,
                        timeout=httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S),
                    )
            except AdapterError as exc:
                failure = exc
                continue
            if reply.is_success:
                self._last_good, self._is_away = url, False
                self._away_until_s = float("-inf")
                return reply
            failure = _refusal(reply)
            if not failure.retryable:
                raise failure
        self._is_away = True
        raise failure

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _no_answer(self, url: str, fault: HttpFault, reason: str) -> AdapterError:
        if not fault.is_timeout:
            return self._away(f"cannot be reached at {url} ({reason})")
        self._away_until_s = self._monotonic_s() + AWAY_S
        return self._away(f"does not answer at {url}")

    def _away(self, what: str) -> AdapterError:
        return AdapterError(
            "memory-away",
            f"The memory service {what}.",
            hint="Conversations go on without it. In the cluster: nomad job status memory-service",
            retryable=True,
        )


def _refusal(reply: httpx.Response) -> AdapterError:
    """Return what an error reply says; a wrong token may be set right, so it is worth another try."""
    retryable = reply.status_code in (401, 408, 429) or reply.status_code >= 500
    try:
        error = reply.json()["error"]
        code, message, hint = str(error["code"]), str(error["message"]), str(error.get("hint", ""))
    except (ValueError, KeyError, TypeError):
        code, message, hint = "memory-refused", f"The memory service answered {reply.status_code}.", ""
    status = 503 if retryable else reply.status_code
    return AdapterError(code, message, hint=hint, retryable=retryable, status=status)
