"""`twin doctor`: says what this machine can do, what is missing, and what to do about it.

It owns the checks' order and lines; each check reads, none changes anything.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import socket
from collections.abc import Callable, Iterator

from pipecatapp.adapters.engine import Default, feature_names
from pipecatapp.adapters.host.cpu import CpuInfo, read_cpu
from pipecatapp.adapters.llm.engines import ENGINES as LLM_ENGINES
from pipecatapp.adapters.memory.remote import RemoteMemoryStore
from pipecatapp.app.clock import SystemClock
from pipecatapp.app.configuration import load_settings
from pipecatapp.app.discovery import memory_urls, open_directory
from pipecatapp.app.engines import KINDS, Closable, EngineKind
from pipecatapp.app.local_llm import built_llama_server
from pipecatapp.app.memory import LOCAL_FILE, memory_http
from pipecatapp.app.models import model_store
from pipecatapp.app.trials import REMEDY, EngineTrials
from pipecatapp.errors import AgentError
from pipecatapp.experts.service_names import MEMORY_SERVICE, expert_names
from pipecatapp.ports import ServiceDirectory
from pipecatapp.settings import Settings

LEAST_MEMORY_MB = 2000
"""The embedded models, the service and the system need this much (mebibytes)."""
LEAST_DISK_MB = 2000
"""The embedded models and their downloads need this much (mebibytes)."""
PROGRAMS = {"bubblewrap": "bwrap"}
"""Debian packages whose program has another name."""

Finding = tuple[str, str, str]
"""Level (ok, warn or bad), what was found, and what to do about it ("" when nothing)."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("doctor", help="check this machine, its models and its ports")
    parser.set_defaults(func=_doctor)


def _doctor(_options: argparse.Namespace) -> int:
    settings = load_settings()
    worst = 0
    for check in (_machine, _models, _engine, _trials, _folders, _ports, _programs, _consul, _memory):
        for level, found, advice in _findings(check, settings):
            print(f"{level:<5}{found}")
            if advice:
                print(f"     {advice}")
            worst = max(worst, int(level == "bad"))
    return worst


def _findings(check: Callable[[Settings], Iterator[Finding]], settings: Settings) -> Iterator[Finding]:
    try:
        yield from check(settings)
    except AgentError as exc:
        yield "bad", exc.message, exc.hint


def _machine(_settings: Settings) -> Iterator[Finding]:
    cpu = read_cpu()
    missing = cpu.missing(LLM_ENGINES["xllamacpp"].requires_cpu)
    engine = (
        "the prebuilt LLM engine runs" if not missing else f"lacks {', '.join(missing)} for the prebuilt LLM"
    )
    yield "ok", f"CPU {cpu.model}, {cpu.cores} cores: {engine}", ""
    for kind in KINDS:
        yield from _replaced(kind, cpu)
    level = "ok" if cpu.memory_mb >= LEAST_MEMORY_MB else "bad"
    advice = "" if level == "ok" else f"Twin needs {LEAST_MEMORY_MB} MB; use a bigger machine."
    yield level, f"memory {cpu.memory_mb} MB, {cpu.available_mb} MB free", advice


def _replaced(kind: EngineKind[Closable], cpu: CpuInfo) -> Iterator[Finding]:
    """Tell which engine of a port this CPU cannot run, and what does its work."""
    defaults = [spec for spec in kind.engines.values() if spec.default is not Default.NEVER]
    first, runs = defaults[0], [spec for spec in defaults if cpu.supports(spec.requires_cpu)]
    missing = cpu.missing(first.requires_cpu)
    if missing and runs:
        lacks = f"this CPU lacks {feature_names(missing)}"
        yield "warn", f"{lacks}: {runs[0].label} {kind.verb} instead of {first.label}", ""


def _models(settings: Settings) -> Iterator[Finding]:
    store = model_store(settings)
    cpu = read_cpu()
    for expert in ("main", "stt", "tts", "embedding"):
        try:
            yield "ok", f"{expert}: {store.choose(expert, cpu_flags=cpu.flags).name} is here", ""
        except AgentError as exc:
            yield "bad", exc.message, exc.hint


def _engine(settings: Settings) -> Iterator[Finding]:
    binary = built_llama_server(settings, model_store(settings).catalogue)
    if binary is not None:
        yield "ok", f"llama-server is built: {binary}", ""
    elif read_cpu().missing(LLM_ENGINES["xllamacpp"].requires_cpu):
        yield (
            "bad",
            "llama-server is not built, and this CPU cannot run the prebuilt one",
            ("Build it with: twin artifacts fetch llama.cpp"),
        )


def _trials(settings: Settings) -> Iterator[Finding]:
    """Tell what was tried; trying is `twin trials`', or the agent's when it starts."""
    trials = EngineTrials(settings)
    aside, tried = trials.set_aside(), trials.tried()
    for what, why in aside.items():
        yield "warn", f"set aside on this CPU: {what}: {why}", REMEDY
    if not tried:
        yield (
            "ok",
            "no engine was tried on this CPU and kernel yet",
            "The agent tries each before it uses it.",
        )
    elif not aside:
        yield "ok", f"tried on this CPU and kernel, and works: {', '.join(tried)}", ""


def _folders(settings: Settings) -> Iterator[Finding]:
    for variable, folder in (("TWIN_DATA_DIR", settings.data_dir), ("TWIN_CACHE_DIR", settings.cache_dir)):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        free_mb = shutil.disk_usage(there).free // 2**20
        level = "ok" if free_mb >= LEAST_DISK_MB else "warn"
        yield level, f"{variable} {folder}: {free_mb} MB free", "" if level == "ok" else "Make room there."


def _ports(settings: Settings) -> Iterator[Finding]:
    for variable, port in (("TWIN_PORT", settings.port), ("TWIN_TLS_PORT", settings.tls_port)):
        if not port:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.host, port))
                yield "ok", f"port {port} is free", ""
            except OSError:
                yield "ok", f"port {port} is in use: by Twin, if it runs", f"Else set {variable} to another."


def _programs(_settings: Settings) -> Iterator[Finding]:
    engines = {spec.package: f"the voice {spec.label}" for kind in KINDS for spec in kind.engines.values()}
    used = {**engines, "bubblewrap": "running code in a sandbox"}
    for package, use in used.items():
        if not package:
            continue
        program = PROGRAMS.get(package, package)
        found = shutil.which(program)
        advice = "" if found else f"apt-get install {package}"
        yield "ok" if found else "warn", f"{program} ({use}): {found or 'not installed'}", advice


def _consul(settings: Settings) -> Iterator[Finding]:
    """Look services up as the agent does; nothing without TWIN_CONSUL_URL."""
    if not settings.consul_url:
        return
    directory = asyncio.run(_services(settings))
    state = directory.state()
    if state.is_stale:
        yield "bad", state.reason, "The agent goes on without Consul: it thinks itself."
        return
    experts = ", ".join(expert_names(directory)) or "none"
    where = ", ".join(endpoint.url for endpoint in directory.healthy(MEMORY_SERVICE)) or "nowhere"
    yield "ok", f"{directory.name} answers; experts: {experts}; memory service: {where}", ""


def _memory(settings: Settings) -> Iterator[Finding]:
    """Ask the memory as the agent does, its token included."""
    if settings.memory == "local":
        yield "ok", f"memory: this node's file {settings.data_dir / LOCAL_FILE}", ""
        return
    url = asyncio.run(_running_memory_url(settings))
    yield "ok", f"memory: the service at {url} answers", ""


async def _running_memory_url(settings: Settings) -> str:
    clock = SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        directory = await open_directory(settings, clock)
        stack.push_async_callback(directory.close)
        http = memory_http(settings, memory_urls(directory))
        memory = RemoteMemoryStore(http, clock)
        stack.push_async_callback(memory.close)
        await memory.recent_turns("doctor", limit=1)
        return http.url


async def _services(settings: Settings) -> ServiceDirectory:
    directory = await open_directory(settings, SystemClock())
    await directory.close()
    return directory
