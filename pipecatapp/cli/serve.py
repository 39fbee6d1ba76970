"""`twin serve`: the agent on HTTP and HTTPS.

It owns the command's arguments, signals and order; the agent is `app`'s and the servers are `web`'s.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal

from pipecatapp.adapters.tls.local_ca import ensure_certificates, local_names
from pipecatapp.app.configuration import load_settings
from pipecatapp.app.logs import quiet_pipecat, set_up_logging
from pipecatapp.app.trials import EngineTrials
from pipecatapp.environment import let_openmp_wait_idly
from pipecatapp.settings import Settings
from pipecatapp.web.serving import Listener, Serving, bind

log = logging.getLogger(__name__)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "serve",
        help="run the agent",
        description="Run the agent. Every setting is an environment variable; "
        "docs/reference/settings.md lists them.",
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
    listeners = [Listener(bind(settings.host, settings.port, "TWIN_PORT"))]
    if settings.tls_port:
        bound = bind(settings.host, settings.tls_port, "TWIN_TLS_PORT")
        files = ensure_certificates(settings.data_dir / "tls", [*local_names(), *settings.further_names])
        listeners.append(Listener(bound, files.certificate, files.key))
    asyncio.run(_run(settings, listeners))
    return 0


async def _run(settings: Settings, listeners: list[Listener]) -> None:
    """Bring the agent up and serve it until told to stop, which may also come while it starts."""
    await EngineTrials(settings).require("silero", "calls need it")
    # Pipecat announces itself when it is imported, which logging must be ready for.
    from pipecatapp.app.composition import open_agent

    serving: Serving | None = None
    task = asyncio.current_task()
    assert task is not None

    def stop() -> None:
        if serving is not None:
            serving.stop()
        else:
            task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    log.info("Starting; the models take a few seconds to load")
    with contextlib.suppress(asyncio.CancelledError):
        async with open_agent(settings) as context:
            serving = Serving(context, listeners, logs_requests=settings.log_level == "debug")
            await serving.run()
    log.info("Stopped")
