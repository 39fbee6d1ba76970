"""Which long-term memory an agent has, and what the memory service is made of.

It owns the choice by settings and the wiring; how memory is kept is `memory`'s and the adapters'.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pipecatapp.adapters.consul.http import TokenSource
from pipecatapp.adapters.consul.kv import ConsulKv
from pipecatapp.adapters.host.cpu import read_cpu
from pipecatapp.adapters.memory.client import MemoryServiceClient, Urls
from pipecatapp.adapters.memory.consul_replica import PREFIX, ConsulReplica
from pipecatapp.adapters.memory.consul_states import ConsulStates
from pipecatapp.adapters.memory.database import MemoryDatabase
from pipecatapp.adapters.memory.remote import RemoteMemoryStore, RemoteStates, handover_sender
from pipecatapp.adapters.memory.sqlite_faiss import SqliteFaissStore
from pipecatapp.adapters.memory.state_folder import StateFolder
from pipecatapp.adapters.memory.vector_index import FAISS_FLAGS
from pipecatapp.app.clock import SystemClock
from pipecatapp.app.engines import pick_embedder
from pipecatapp.app.models import model_store
from pipecatapp.app.trials import EngineTrials
from pipecatapp.errors import AdapterError, ConfigError
from pipecatapp.memory.replicated_memory import ReplicatedMemory
from pipecatapp.ports import Clock, Embedder, MemoryState, MemoryStore, SavedStates, Vectors
from pipecatapp.settings import Settings
from pipecatapp.web.memory_api import MemoryContext

log = logging.getLogger(__name__)

T = TypeVar("T")

LOCAL_FILE = "memory.sqlite"
"""An agent's own memory, below TWIN_DATA_DIR."""
SERVICE_FILE = "memory-service.sqlite"
"""The memory service's file, below TWIN_DATA_DIR."""
STATES_FOLDER = "states"
"""Saved states, below TWIN_DATA_DIR."""


@dataclass(frozen=True, slots=True)
class AgentMemory:
    """An agent's memory.

    Args:
        store: The memory; to be closed.
        states: Its saved states.
        reason: Which it is and why, in words.
        status: Returns which it is and how it is, for programs.
    """

    store: MemoryStore
    states: SavedStates
    reason: str
    status: Callable[[], Mapping[str, Any]]


def pick_memory(
    settings: Settings, embedder: Embedder, clock: Clock, found: Urls, *, uses_faiss: bool = True
) -> AgentMemory:
    """Return the memory that TWIN_MEMORY asks for.

    Args:
        settings: Which it is, and where.
        embedder: For a local one.
        clock: Time.
        found: Returns where Consul says that the memory service is.
        uses_faiss: Whether FAISS searches a local one (`faiss_works`).

    Raises:
        ConfigError: A remote one is asked for, and nothing says where it could be.
    """
    if settings.memory == "remote":
        http = memory_http(settings, found)
        store = RemoteMemoryStore(http, clock)
        where = settings.memory_url or "memory-service in Consul"
        return AgentMemory(store, RemoteStates(http), f"{where}, because TWIN_MEMORY=remote", store.status)
    path = settings.data_dir / LOCAL_FILE
    return AgentMemory(
        SqliteFaissStore(path, embedder, clock, uses_faiss=uses_faiss),
        StateFolder(settings.data_dir / STATES_FOLDER),
        f"{path}, because TWIN_MEMORY=local",
        lambda: {"kind": "local", "file": str(path)},
    )


async def faiss_works(settings: Settings) -> bool:
    """Whether FAISS works on this CPU; NumPy searches in its place."""
    cpu = read_cpu()
    return not cpu.missing(FAISS_FLAGS) and not await EngineTrials(settings, cpu).ask("faiss")


def memory_http(settings: Settings, found: Urls | None = None) -> MemoryServiceClient:
    """Return a connection to the memory service: where TWIN_MEMORY_URL says, else where `found` does.

    Raises:
        ConfigError: Nothing says where the service could be, or TWIN_MEMORY_CA cannot be used.
    """
    given = [url.strip() for url in settings.memory_url.split(",") if url.strip()]
    if not given and not (found and settings.consul_url):
        raise ConfigError(
            "memory-url",
            "Nothing says where the memory service is.",
            hint="Set TWIN_MEMORY_URL, or TWIN_CONSUL_URL to look it up in Consul.",
        )
    token = settings.memory_token.get_secret_value()

    def urls() -> Sequence[str]:
        if given or found is None:
            return given
        # Consul knows where the service is, not whether it speaks TLS.
        has_tls = settings.memory_ca is not None
        return [url.replace("http:", "https:", 1) if has_tls else url for url in found()]

    return MemoryServiceClient(urls, token, ca=settings.memory_ca)


async def read_file(path: Path, call: Callable[[MemoryDatabase], T]) -> T:
    """Return `call` of a memory's file, such as `MemoryDatabase.export_state`.

    Raises:
        AdapterError: It is not there, damaged, or written by a newer program.
    """
    if not await asyncio.to_thread(path.is_file):
        raise AdapterError("memory-missing", f"There is no memory at '{path}'.")
    return await use_file(path, call)


async def use_file(path: Path, call: Callable[[MemoryDatabase], T]) -> T:
    """Return `call` of a memory's file, which is made when it is not there.

    Raises:
        AdapterError: It is damaged, or written by a newer program.
    """
    store = SqliteFaissStore(path, NoEmbedder(), SystemClock())
    try:
        return await store.use(call)
    finally:
        await store.close()


@asynccontextmanager
async def memory_service(settings: Settings, *, address: str, inherits: Path) -> AsyncIterator[MemoryContext]:
    """Bring the memory service up; on leaving, give its lock away and close its file.

    Args:
        settings: Folder, embedder, Consul and token.
        address: Where other instances reach this one.
        inherits: File of the memory that an empty cluster begins with; may be absent.

    Raises:
        AgentError: A part cannot be had; the message says which and what to do.
    """
    clock, folder = SystemClock(), settings.data_dir
    folder.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        stack.enter_context(_only_one(folder / "memory-service.lock"))
        picked = await pick_embedder(settings, model_store(settings), read_cpu())
        stack.push_async_callback(picked.engine.close)
        log.info("Picked an engine", extra={"part": "embeddings", "reason": picked.reason})
        uses_faiss = await faiss_works(settings)
        store = SqliteFaissStore(folder / SERVICE_FILE, picked.engine, clock, uses_faiss=uses_faiss)
        replica = None
        states: SavedStates = StateFolder(folder / STATES_FOLDER)
        if settings.consul_url:
            token = TokenSource(settings.consul_token.get_secret_value(), settings.consul_token_file)
            kv = ConsulKv(settings.consul_url, token.read, ca=settings.consul_ca)
            replica = ConsulReplica(kv, session_file=folder / "memory-service.session")
            states = ConsulStates(kv, replica.guard, prefix=PREFIX)

        def connect(other: str) -> MemoryServiceClient:
            token = settings.memory_token.get_secret_value()
            return MemoryServiceClient(lambda: [other], token, ca=settings.memory_ca)

        async def inherit() -> MemoryState | None:
            if not await asyncio.to_thread(inherits.is_file):
                return None
            state = await read_file(inherits, MemoryDatabase.export_state)
            if state.is_empty:
                return None
            log.info("The memory begins with what this node knew", extra={"file": str(inherits)})
            return state

        memory = ReplicatedMemory(
            store, replica, address=address, clock=clock, hand_over=handover_sender(connect), inherit=inherit
        )
        stack.push_async_callback(memory.close)
        yield MemoryContext(memory, states)


class NoEmbedder:
    """Stands where nothing is searched."""

    @property
    def name(self) -> str:
        """Return that it is none."""
        return "none"

    @property
    def dimensions(self) -> int:
        """Return a length that no vector has."""
        return 1

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Refuse."""
        raise AdapterError("no-embedder", "This memory is only read.")

    async def close(self) -> None:
        """Do nothing."""


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Let one process at a time use a folder.

    Raises:
        ConfigError: Another does.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        os.close(file)
        raise ConfigError(
            "memory-in-use",
            f"Another memory service uses '{path.parent}'.",
            hint="Stop it, or give this one its own TWIN_DATA_DIR.",
        ) from exc
    try:
        yield
    finally:
        os.close(file)
