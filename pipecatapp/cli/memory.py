"""`twin memory`: the memory service, its verifier, and moving memory between places.

It owns the commands' arguments and lines; the service is made in `app.memory`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ipaddress
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from pipecatapp.adapters.memory.database import MemoryDatabase
from pipecatapp.adapters.memory.remote import RemoteMemoryStore
from pipecatapp.app.clock import SystemClock
from pipecatapp.app.configuration import load_settings
from pipecatapp.app.discovery import memory_urls, open_directory
from pipecatapp.app.logs import set_up_logging
from pipecatapp.app.memory import LOCAL_FILE, memory_http, memory_service, read_file
from pipecatapp.errors import ConfigError
from pipecatapp.memory.state_file import decode_state, encode_state
from pipecatapp.ops.memory_migration import collect_local, seed_cluster
from pipecatapp.ports import MemoryState
from pipecatapp.ports.event_log import verify
from pipecatapp.settings import Settings
from pipecatapp.web.memory_api import create_memory_app
from pipecatapp.web.serving import Listener, Servers, bind

log = logging.getLogger(__name__)

T = TypeVar("T")

DEFAULT_PORT = 8020
"""Port of a service that is started by hand; in the cluster, Nomad gives one."""
SQLITE_MAGIC = b"SQLite format 3\0"
"""How a file of SQLite begins (https://www.sqlite.org/fileformat.html)."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands."""
    parser = subparsers.add_parser("memory", help="run, check, fill or copy the long-term memory")
    commands = parser.add_subparsers(dest="memory_command", metavar="COMMAND", required=True)
    serve = commands.add_parser(
        "serve",
        help="run the memory service",
        description="Run the memory service. Its token is TWIN_MEMORY_TOKEN; with TWIN_CONSUL_URL, its"
        " memory survives this node. docs/memory.md says how.",
    )
    serve.add_argument("--host", help="address to listen on (TWIN_HOST, else 127.0.0.1)")
    serve.add_argument("--port", type=int, help=f"port (TWIN_PORT, else {DEFAULT_PORT})")
    serve.add_argument("--certificate", type=Path, help="PEM file: serve https (TWIN_MEMORY_CERTIFICATE)")
    serve.add_argument("--key", type=Path, help="PEM file of its key (TWIN_MEMORY_KEY)")
    serve.add_argument("--advertise", default="", help="URL for other instances (default: host and port)")
    serve.add_argument(
        "--take-over", type=Path, help=f"memory an empty cluster begins with (TWIN_DATA_DIR/{LOCAL_FILE})"
    )
    serve.set_defaults(func=_serve)
    start = commands.add_parser(
        "init", help="begin a cluster's empty memory with what this machine knew when it was alone"
    )
    start.add_argument("--dry-run", action="store_true", help="only say what that is")
    start.set_defaults(func=_init)
    check = commands.add_parser("verify", help="check the chain of events, and what is kept against it")
    check.add_argument("--file", type=Path, help="a memory's file (default: the memory that the agent uses)")
    check.set_defaults(func=_verify)
    fill = commands.add_parser("import", help="add what a file knows to the memory service")
    fill.add_argument("file", type=Path, help="an agent's memory.sqlite, or a saved state")
    fill.set_defaults(func=_import)
    copy = commands.add_parser("export", help="write the memory service's whole memory to a file")
    copy.add_argument("file", type=Path, help="a saved state, made or replaced")
    copy.set_defaults(func=_export)


def _serve(options: argparse.Namespace) -> int:
    settings = load_settings()
    set_up_logging(settings.log_level)
    # The agent's own address and port are meant only where they were given: both may run on one node.
    given = settings.model_fields_set
    host = options.host or (settings.host if "host" in given else "127.0.0.1")
    port = options.port if options.port is not None else settings.port if "port" in given else DEFAULT_PORT
    _check_token(settings, host)
    certificate, key = options.certificate or settings.memory_certificate, options.key or settings.memory_key
    for variable, path in (("TWIN_MEMORY_CERTIFICATE", certificate), ("TWIN_MEMORY_KEY", key)):
        if certificate is not None and not (path and os.access(path, os.R_OK)):
            raise ConfigError("memory-certificate", f"{variable}={path} cannot be read by this user.")
    listener = Listener(bind(host, port, "TWIN_PORT"), certificate, key)
    address = options.advertise or listener.url
    inherits = options.take_over or settings.data_dir / LOCAL_FILE
    asyncio.run(_run(settings, listener, address, inherits))
    return 0


def _check_token(settings: Settings, host: str) -> None:
    if settings.memory_token.get_secret_value():
        return
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return
    if host == "localhost":
        return
    raise ConfigError(
        "memory-token",
        f"The memory service does not listen on {host} without a token.",
        hint="Set TWIN_MEMORY_TOKEN, or --host 127.0.0.1.",
    )


async def _run(settings: Settings, listener: Listener, address: str, inherits: Path) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with memory_service(settings, address=address, inherits=inherits) as context:
        app = create_memory_app(context, settings.memory_token.get_secret_value())
        servers = Servers(app, [listener], logs_requests=settings.log_level == "debug")
        keeping = asyncio.create_task(context.memory.run(), name="memory-replication")
        serving = asyncio.create_task(servers.run(), name="memory-http")
        stop = asyncio.create_task(stopping.wait(), name="memory-stop")
        try:
            if not settings.consul_url:
                await keeping  # it only begins; a file that cannot be used ends the service here
            watched = {serving, stop, *({keeping} if settings.consul_url else ())}
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        finally:
            servers.stop()
            stop.cancel()
            await asyncio.wait({serving, stop})
            keeping.cancel()
            await asyncio.wait({keeping})
        if not keeping.cancelled():
            keeping.result()
        serving.result()
    log.info("Stopped")


def _init(options: argparse.Namespace) -> int:
    settings = load_settings()
    if options.dry_run:
        print(", ".join(asyncio.run(collect_local(settings)).words) or "nothing")
        return 0
    set_up_logging(settings.log_level)
    taken = asyncio.run(seed_cluster(settings))
    print(f"the cluster's memory begins with {', '.join(taken)}" if taken else "nothing to take over")
    return 0


def _verify(options: argparse.Namespace) -> int:
    settings = load_settings()
    if options.file is None and settings.memory == "remote":
        report = asyncio.run(_ask(RemoteMemoryStore.verify, settings))
    else:
        path = options.file or settings.data_dir / LOCAL_FILE
        report = asyncio.run(read_file(path, lambda db: verify(db.events(), db.items())))
    if report.is_intact:
        print(f"whole: {report.events} events; the {report.items} facts and turns are what they say")
        return 0
    print(f"BROKEN at event {report.broken_seq}: {report.fault}")
    print("  Load a saved state, or restore a backup; docs/memory.md says how.")
    return 1


def _import(options: argparse.Namespace) -> int:
    state = _read(options.file)
    added = asyncio.run(_ask(lambda memory: memory.merge_state(state), load_settings()))
    print(f"added {added} facts and turns; what was known already was left as it is")
    return 0


def _read(path: Path) -> MemoryState:
    try:
        with path.open("rb") as file:
            magic = file.read(len(SQLITE_MAGIC))
        if magic == SQLITE_MAGIC:
            return asyncio.run(read_file(path, MemoryDatabase.export_state))
        return decode_state(path.name, path.read_bytes())
    except OSError as exc:
        raise ConfigError("state-not-read", f"'{path}' cannot be read: {exc.strerror}.") from exc


async def _ask(call: Callable[[RemoteMemoryStore], Awaitable[T]], settings: Settings) -> T:
    async with contextlib.AsyncExitStack() as stack:
        directory = await open_directory(settings, SystemClock())
        stack.push_async_callback(directory.close)
        memory = RemoteMemoryStore(memory_http(settings, memory_urls(directory)), SystemClock())
        stack.push_async_callback(memory.close)
        return await call(memory)


def _export(options: argparse.Namespace) -> int:
    state = asyncio.run(_ask(RemoteMemoryStore.export_state, load_settings()))
    data = encode_state(state, saved_s=SystemClock().wall_s())
    try:
        options.file.touch(mode=0o600)
        options.file.write_bytes(data)
    except OSError as exc:
        raise ConfigError(
            "state-not-written", f"'{options.file}' cannot be written: {exc.strerror}."
        ) from exc
    print(f"wrote {len(state.facts)} facts and {len(state.conversations)} conversations")
    return 0
