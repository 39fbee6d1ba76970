"""HTTP to this node's Consul agent: the token, blocking queries, and what each failure means.

It owns the wire. httpx is used rather than py-consul because its requests are awaited and can be cancelled:
a blocking query hangs for most of a minute, and a thread that waits for it could not be ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from pipecatapp.adapters.http.errors import ErrorOf, agent_errors, map_http_errors
from pipecatapp.adapters.tls.trust import client_context
from pipecatapp.errors import AdapterError

CONNECT_TIMEOUT_S = 3.0
"""An agent on this node accepts within milliseconds (seconds)."""
ANSWER_TIMEOUT_S = 10.0
"""Longest wait for an answer beyond the time that a query asked to be held (seconds)."""
WAIT_SPREAD = 1 / 16
"""Part of the wait that Consul adds at random (developer.hashicorp.com/consul/api-docs/features/blocking)."""
_FILTERED = "X-Consul-Results-Filtered-By-ACLs"


@dataclass(frozen=True, slots=True)
class ConsulReply:
    """An answer.

    Args:
        value: Its JSON.
        index: What to hand in to wait for the next change; 0 when Consul gave none.
        is_filtered: Something was left out that the token may not see.
    """

    value: Any
    index: int
    is_filtered: bool


@dataclass(frozen=True, slots=True)
class TokenSource:
    """A token, or the file that has it, read for each request because it may be rewritten.

    Args:
        token: The token itself; "" for none.
        file: Its file, which wins while it can be read; None for none.
    """

    token: str = ""
    file: Path | None = None

    def read(self) -> str:
        """Return the token of this moment, "" when there is none."""
        if self.file is None:
            return self.token
        try:
            return self.file.read_text(encoding="utf-8").strip() or self.token
        except OSError:
            return self.token

    def __call__(self) -> str:
        """Return the same, for who asks any source."""
        return self.read()


class ConsulHttp:
    """A connection to one Consul agent.

    Args:
        url: Such as http://127.0.0.1:8500.
        token: Returns the token to show, "" for none; asked for each request.
        ca: Certificate authority (PEM) of an https address; the system's when None.
        timeout_s: Longest wait for an answer beyond the time a query asked to be held (seconds, > 0).
        connect_timeout_s: Longest wait for the connection (seconds, > 0).
    """

    def __init__(
        self,
        url: str,
        token: Callable[[], str],
        *,
        ca: Path | None = None,
        timeout_s: float = ANSWER_TIMEOUT_S,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._timeout_s = timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._error_of = agent_errors("Consul", self.url)
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(timeout_s, connect=connect_timeout_s),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=8),
            verify=client_context(ca) if self.url.startswith("https:") else True,
            trust_env=False,
        )

    async def get(self, path: str, *, index: int = 0, wait_s: float = 0.0, **params: str) -> ConsulReply:
        """Return the answer to GET `path` below /v1.

        Args:
            path: Begins with a slash.
            index: Hold the query until something newer than this is there; 0 does not hold it.
            wait_s: Longest time to hold it (seconds, 1 to 600).
            params: Further query parameters.

        Raises:
            AdapterError: `consul-unreachable`, `consul-untrusted`, `consul-timeout`, `consul-refused`,
                `consul-failed` or `consul-nonsense`.
        """
        query: dict[str, str] = dict(params)
        held_s = 0.0
        if index:
            query |= {"index": str(index), "wait": f"{wait_s:g}s"}
            held_s = wait_s * (1 + WAIT_SPREAD)
        reply = await self.send("GET", path, params=query, timeout_s=held_s + self._timeout_s)
        self._check(reply)
        return self._read(reply)

    async def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        timeout_s: float | None = None,
        error_of: ErrorOf | None = None,
    ) -> httpx.Response:
        """Return an answer as it is, of whatever status.

        Args:
            method: Of HTTP.
            path: Begins with a slash, below /v1.
            params: Query.
            content: Body.
            timeout_s: Longest wait (seconds, > 0); None for the connection's own.
            error_of: The error for what httpx raises; None for Consul's own.

        Raises:
            AdapterError: There is no answer.
        """
        if self._client.is_closed:
            raise AdapterError("consul-closed", "The connection to Consul is closed.")
        token = self._token()
        with map_http_errors(error_of or self._error_of):
            return await self._client.request(
                method,
                f"{self.url}/v1{path}",
                params=params,
                content=content,
                headers={"X-Consul-Token": token} if token else {},
                timeout=httpx.Timeout(timeout_s or self._timeout_s, connect=self._connect_timeout_s),
            )

    async def close(self) -> None:
        """Close the connections; queries that are held end."""
        await self._client.aclose()

    def _check(self, reply: httpx.Response) -> None:
        if reply.status_code == httpx.codes.OK:
            return
        words = " ".join(reply.text.split())[:200] or "no reason given"
        if reply.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise AdapterError(
                "consul-refused",
                f"Consul at {self.url} refused the token ({words}).",
                hint="CONSUL_HTTP_TOKEN, or the file that CONSUL_HTTP_TOKEN_FILE names, must allow it.",
            )
        raise AdapterError(
            "consul-failed",
            f"Consul at {self.url} answered {reply.status_code}: {words}",
            hint="Without a leader it answers nothing: look at `twin cluster status` on a controller.",
            retryable=True,
        )

    def _read(self, reply: httpx.Response) -> ConsulReply:
        try:
            value = reply.json()
            index = int(reply.headers.get("X-Consul-Index", "0"))
        except ValueError as exc:
            raise AdapterError(
                "consul-nonsense",
                f"What answers at {self.url} is not Consul.",
                hint="Set TWIN_CONSUL_URL to this node's Consul agent, such as http://127.0.0.1:8500.",
            ) from exc
        return ConsulReply(value, index, reply.headers.get(_FILTERED, "") == "true")
