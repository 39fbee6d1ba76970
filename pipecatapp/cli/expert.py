"""`twin expert`: serve one expert of the house, as the job that Nomad runs does.

It owns the command's arguments; which model is served, and when another one, is `ops.expert_supervisor`'s.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from pathlib import Path

from pipecatapp.adapters.consul.directory import ConsulDirectory
from pipecatapp.app.clock import SystemClock
from pipecatapp.app.configuration import load_settings
from pipecatapp.app.discovery import consul_http
from pipecatapp.app.logs import set_up_logging
from pipecatapp.app.trials import EngineTrials
from pipecatapp.experts.service_names import RPC_PROVIDER
from pipecatapp.ops.expert_supervisor import (
    ExpertOrder,
    ExpertSecrets,
    ExpertSupervisor,
    check_program,
    read_order,
)
from pipecatapp.settings import Settings


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("expert", help="serve an expert of the house, the best model that works")
    commands = parser.add_subparsers(dest="expert_command", metavar="COMMAND", required=True)
    serve = commands.add_parser(
        "serve",
        help="serve it until told to stop",
        description="Serve the first model of a list that is here, right, fits and is fast enough, and the"
        " next one when it fails. ansible/jobs/llama-expert.nomad.hcl runs it.",
    )
    serve.add_argument("--config", type=Path, required=True, help="file that says what is wanted (JSON)")
    serve.set_defaults(func=_serve)


def _serve(options: argparse.Namespace) -> int:
    settings = load_settings()
    set_up_logging(settings.log_level)
    order = read_order(options.config)
    check_program(order)
    asyncio.run(_run(settings, order))
    return 0


async def _run(settings: Settings, order: ExpertOrder) -> None:
    secrets = ExpertSecrets(
        settings.expert_api_key,
        settings.expert_certificate,
        settings.expert_certificate_key.get_secret_value(),
    )
    directory = None
    if settings.consul_url and order.workers:
        directory = await ConsulDirectory.open(consul_http(settings), SystemClock(), services=(RPC_PROVIDER,))
    variants = EngineTrials(settings).llama
    host = asyncio.create_task(ExpertSupervisor(order, secrets, directory, variants=variants).run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, host.cancel)
    try:
        await asyncio.gather(host, return_exceptions=True)
        if not host.cancelled() and (fault := host.exception()) is not None:
            raise fault
    finally:
        if directory is not None:
            await directory.close()
