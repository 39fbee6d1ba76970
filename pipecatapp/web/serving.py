"""Sockets and servers of the HTTP application.

It owns binding, the two servers in one process and their end; what they serve is `api`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from pipecatapp.errors import ConfigError
from pipecatapp.web.api import create_app
from pipecatapp.web.client_address import TRUSTED_PROXIES
from pipecatapp.web.dependencies import AgentContext

log = logging.getLogger(__name__)

CERTIFICATE_POLL_S = 30.0
"""How often a certificate's file is looked at (seconds); a rotation leaves the old one valid meanwhile."""

STOP_TIMEOUT_S = 5
"""Longest wait for open requests when the process stops (seconds)."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A bound socket and, for HTTPS, the files of its certificate."""

    socket: socket.socket
    certificate: Path | None = None
    key: Path | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self.socket.getsockname()[:2]
        return f"{'https' if self.certificate else 'http'}://{host}:{port}"


def bind(host: str, port: int, variable: str) -> socket.socket:
    """Return a socket bound to `host` and `port`.

    Args:
        host: Address.
        port: Port.
        variable: Setting that the port came from, for the error.

    Raises:
        ConfigError: The port is taken, or may not be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named TCP, or asyncio leaves Nagle's algorithm on, because it looks at the socket's protocol: then an
    # answer's first piece waits 40 ms for the other side to acknowledge the head.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        # From now on nobody else can have it; callers wait in line until the models are loaded.
        bound.listen()
    except OSError as exc:
        bound.close()
        raise ConfigError(
            "port-taken",
            f"Twin cannot listen on {host} port {port}: {exc.strerror}.",
            hint=f"Stop what uses it (`ss -ltnp sport = :{port}` tells), or set {variable} to another port.",
        ) from exc
    return bound


class _Server(uvicorn.Server):
    """A uvicorn server that leaves signals to whoever runs it, so that two can share a process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


class Servers:
    """One application on all its listeners.

    Args:
        app: The application.
        listeners: Where to serve it.
        logs_requests: Whether each request is logged.
    """

    def __init__(self, app: FastAPI, listeners: Sequence[Listener], *, logs_requests: bool) -> None:
        self._listeners = listeners
        self._servers = [_server(app, listener, logs_requests) for listener in listeners]

    async def run(self) -> None:
        """Serve until `stop`."""
        for listener in self._listeners:
            log.info("Listening", extra={"url": listener.url})
        pairs = list(zip(self._servers, self._listeners, strict=True))
        renewing = [
            asyncio.create_task(_renew(server.config, listener.certificate, listener.key))
            for server, listener in pairs
            if listener.certificate and listener.key
        ]
        try:
            await asyncio.gather(*(server.serve(sockets=[listener.socket]) for server, listener in pairs))
        finally:
            for task in renewing:
                task.cancel()

    def stop(self) -> None:
        """Take no more requests, and end."""
        for server in self._servers:
            server.should_exit = True


class Serving(Servers):
    """The agent's application on all its listeners.

    Args:
        context: The agent, up.
        listeners: Where to serve it.
        logs_requests: Whether each request is logged.
    """

    def __init__(self, context: AgentContext, listeners: Sequence[Listener], *, logs_requests: bool) -> None:
        super().__init__(create_app(context), listeners, logs_requests=logs_requests)


def _server(app: FastAPI, listener: Listener, logs_requests: bool) -> _Server:
    return _Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=logs_requests,
            timeout_graceful_shutdown=STOP_TIMEOUT_S,
            lifespan="off",
            forwarded_allow_ips=TRUSTED_PROXIES,
            ssl_certfile=listener.certificate,
            ssl_keyfile=listener.key,
        )
    )


async def _renew(config: uvicorn.Config, certificate: Path, key: Path) -> None:
    """Serve new connections with the new certificate whenever its file has changed; open ones go on."""
    known = _written_ns(certificate)
    while True:
        await asyncio.sleep(CERTIFICATE_POLL_S)
        try:
            found = _written_ns(certificate)
            if found != known and config.ssl is not None:
                config.ssl.load_cert_chain(certificate, key)
                known = found
                log.info("Serving the new certificate", extra={"file": str(certificate)})
        except OSError as exc:
            # The two files are written one after the other: the next look finds both.
            log.warning(
                "The new certificate cannot be read yet", extra={"file": str(certificate), "error": str(exc)}
            )


def _written_ns(path: Path) -> int:
    return path.stat().st_mtime_ns
