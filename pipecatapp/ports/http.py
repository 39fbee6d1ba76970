"""Connections to models' servers over HTTP, whose responses are read as they come.

Not here: framing (`adapters/http/stream_client`), and which server is asked (`gateway/proxy`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

ParseRejection = Callable[[int, bytes], str]
"""From a response's status and body, why its server cannot take the request, in the server's words; "" when
the server itself failed."""


@runtime_checkable
class StreamedResponse(Protocol):
    """A response whose head is read.

    Every read raises AdapterError: `upstream-timeout` or `upstream-broke-off`.
    """

    @property
    def status(self) -> int:
        """HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers, their names in small letters."""
        ...

    async def read(self) -> bytes:
        """Return the next piece of the body, all of it that is here; b"" at its end."""
        ...

    async def read_whole(self) -> bytes:
        """Return the whole body."""
        ...

    def close(self) -> None:
        """Let go of the response; one that is not whole is given up, which makes the server stop its work."""
        ...


@runtime_checkable
class ConnectionPool(Protocol):
    """Connections to servers, kept a while for the next request."""

    async def post(
        self, url: str, body: bytes, *, api_key: str = "", timeout_s: float, server_name: str
    ) -> StreamedResponse:
        """Send `body` to `url` and return the response, its head read; `StreamedResponse.close` must follow.

        Args:
            url: Absolute, http or https.
            body: JSON.
            api_key: Sent as a bearer token; "" for none.
            timeout_s: Longest wait for the next byte (seconds, > 0).
            server_name: What errors call the server.

        Raises:
            AdapterError: `upstream-unreachable`, `upstream-timeout` or `upstream-broke-off`; all retryable.
        """
        ...

    def close(self) -> None:
        """Drop what is kept."""
        ...
