"""`twin serve`: the agent on HTTP and HTTPS.

It owns the sockets, the two servers and their end; what they serve is `app` and `web`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from pipecatapp.adapters.local_ca import Certificates, ensure_certificates, local_names
from pipecatapp.app.composition import agent
from pipecatapp.app.logs import quiet_pipecat, set_up_logging
from pipecatapp.errors import ConfigError
from pipecatapp.settings import Settings, load_settings
from pipecatapp.web.api import create_app

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
    plain = _bind(settings.host, settings.port, "TWIN_PORT")
    secure = _bind(settings.host, settings.tls_port, "TWIN_TLS_PORT") if settings.tls_port else None
    app = create_app(lambda: agent(settings))
    servers = [(_server(app, settings, None), plain)]
    if secure is not None:
        certificates = ensure_certificates(settings.data_dir / "tls", local_names())
        servers.append((_server(app, settings, certificates), secure))
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(servers))
    return 0 if servers[0][0].started else 1


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

    async def wait_started(self, task: asyncio.Task[None]) -> None:
        """Wait until it listens, or until `task`, which runs it, has ended."""
        while not self.started and not task.done():  # noqa: ASYNC110 - uvicorn tells by a flag only
            await asyncio.sleep(0.05)

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
            lifespan="off" if certificates else "on",
            ssl_certfile=certificates.certificate if certificates else None,
            ssl_keyfile=certificates.key if certificates else None,
        )
    )


async def _run(servers: list[tuple[_Server, socket.socket]]) -> None:
    """Serve until told to stop. The first server brings the agent up, the others follow it."""
    first, first_socket = servers[0]

    def stop() -> None:
        for server, _ in servers:
            server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    main = asyncio.create_task(first.serve(sockets=[first_socket]), name="http")
    await first.wait_started(main)
    others = [
        asyncio.create_task(server.serve(sockets=[bound]), name="https") for server, bound in servers[1:]
    ] if not main.done() else []  # fmt: skip
    done, _ = await asyncio.wait([main, *others], return_when=asyncio.FIRST_COMPLETED)
    stop()
    await asyncio.gather(main, *others)
    for task in done:
        task.result()
