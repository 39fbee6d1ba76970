"""`twin serve`: the agent on HTTP and HTTPS.

It owns the sockets, the two servers and their end; what they serve is `app` and `web`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from pipecatapp.adapters.local_ca import Certificates, ensure_certificates, local_names
from pipecatapp.app.logs import quiet_pipecat, set_up_logging
from pipecatapp.errors import ConfigError
from pipecatapp.settings import Settings, let_openmp_wait_idly, load_settings
from pipecatapp.web.api import create_app

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 5
"""Longest wait for open requests when the process stops (seconds)."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "serve",
        help="run the agent",
        description="Run the agent. Every setting is an environment variable; docs/settings.md lists them.",
    )
    parser.add_argument("--host", help="address to listen on (TWIN_HOST)")
    parser.add_argument("--port", type=int, help="HTTP port (TWIN_PORT)")
    parser.add_argument("--tls-port", type=int, help="HTTPS port, 0 for none (TWIN_TLS_PORT)")
    parser.set_defaults(func=_serve)


def _serve(options: argparse.Namespace) -> int:
    given = {name: getattr(options, name) for name in ("host", "port", "tls_port")}
    settings = load_settings().model_copy(update={k: v for k, v in given.items() if v is not None})
    set_up_logging(settings.log_level)
    quiet_pipecat(settings.log_level)
    let_openmp_wait_idly()
    sockets = [_bind(settings.host, settings.port, "TWIN_PORT")]
    if settings.tls_port:
        sockets.append(_bind(settings.host, settings.tls_port, "TWIN_TLS_PORT"))
    asyncio.run(_run(settings, sockets))
    return 0


def _bind(host: str, port: int, variable: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
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


def _server(app: FastAPI, settings: Settings, certificates: Certificates | None) -> _Server:
    return _Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=settings.log_level == "debug",
            timeout_graceful_shutdown=STOP_TIMEOUT_S,
            lifespan="off",
            ssl_certfile=certificates.certificate if certificates else None,
            ssl_keyfile=certificates.key if certificates else None,
        )
    )


async def _run(settings: Settings, sockets: list[socket.socket]) -> None:
    """Bring the agent up, serve it on HTTP and, with a second socket, on HTTPS, until told to stop."""
    # Pipecat announces itself when it is imported, which logging must be ready for.
    from pipecatapp.app.composition import agent

    servers: list[_Server] = []
    task = asyncio.current_task()
    assert task is not None

    def stop() -> None:
        for server in servers:
            server.should_exit = True
        if not servers:
            task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    log.info("Starting; the models take a few seconds to load")
    with contextlib.suppress(asyncio.CancelledError):
        async with agent(settings) as parts:
            app = create_app(parts)
            servers.append(_server(app, settings, None))
            if len(sockets) > 1:
                certificates = ensure_certificates(settings.data_dir / "tls", local_names())
                servers.append(_server(app, settings, certificates))
            for scheme, bound in zip(("http", "https"), sockets, strict=False):
                log.info("Listening on %s://%s:%s", scheme, *bound.getsockname()[:2])
            await asyncio.gather(
                *(server.serve(sockets=[bound]) for server, bound in zip(servers, sockets, strict=True))
            )
    log.info("Stopped")
