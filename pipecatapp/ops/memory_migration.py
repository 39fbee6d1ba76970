"""Seeds a cluster's empty memory with what a machine knew when it was alone.

It owns what is taken over, once, before the memory service first starts, so that it does not matter where
that runs. What Consul holds already is never replaced. The machine's files are read and left as they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pipecatapp.adapters.consul.api_keys import KEY
from pipecatapp.adapters.consul.kv import ConsulKv, put_if
from pipecatapp.adapters.host.api_key_file import FileApiKeyStore, keys_to_json
from pipecatapp.adapters.memory.consul_replica import LOCK_DELAY_S, PREFIX, ConsulReplica
from pipecatapp.adapters.memory.consul_states import ConsulStates
from pipecatapp.adapters.memory.database import MemoryDatabase
from pipecatapp.adapters.memory.state_folder import StateFolder
from pipecatapp.app.cluster import consul_token_of
from pipecatapp.app.memory import LOCAL_FILE, SERVICE_FILE, STATES_FOLDER, read_file, use_file
from pipecatapp.errors import AdapterError, ConfigError
from pipecatapp.memory.replicated_memory import RENEWALS
from pipecatapp.ports import ApiKey, MemoryState, SavedState
from pipecatapp.settings import Settings

log = logging.getLogger(__name__)

TRIES = 3
"""How often the lock is asked for: Consul keeps one that was lost a moment ago free for a while."""


@dataclass(frozen=True, slots=True)
class LocalMemory:
    """What a machine knows.

    Args:
        memory: Its facts and conversations.
        states: Its saved states.
        keys: The gateway's keys, by digest.
    """

    memory: MemoryState
    states: Sequence[SavedState]
    keys: Mapping[str, ApiKey]

    @property
    def words(self) -> Sequence[str]:
        """How much it is of each kind, in words; empty for nothing."""
        turns = sum(len(conversation) for conversation in self.memory.conversations.values())
        counts = {
            "fact": len(self.memory.facts),
            "turn": turns,
            "saved state": len(self.states),
            "key": len(self.keys),
        }
        return [f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in counts.items() if count]


async def collect_local(settings: Settings) -> LocalMemory:
    """Return what this machine knows, by the files in TWIN_DATA_DIR.

    A copy of a cluster's memory goes before the machine's own: it began with that.

    Raises:
        AdapterError: A file is damaged, or written by a newer program.
    """
    memory = MemoryState()
    for name in (SERVICE_FILE, LOCAL_FILE):
        path = settings.data_dir / name
        if memory.is_empty and await asyncio.to_thread(path.is_file):
            memory = await read_file(path, MemoryDatabase.export_state)
    keys = await asyncio.to_thread(FileApiKeyStore(settings.data_dir).known)
    return LocalMemory(memory, await StateFolder(settings.data_dir / STATES_FOLDER).list(), keys)


async def seed_cluster(settings: Settings) -> Sequence[str]:
    """Begin the memory of the cluster with what this machine knows; return what was taken over, in words.

    Nothing is taken over once the cluster remembers something. A state too large for Consul stays a file.

    Raises:
        ConfigError: TWIN_CONSUL_URL is not set.
        AdapterError: A file cannot be read, Consul is away, or a memory service leads already.
    """
    if not settings.consul_url:
        raise ConfigError("memory-alone", "There is no cluster: TWIN_CONSUL_URL is not set.")
    local = await collect_local(settings)
    kv = ConsulKv(settings.consul_url, consul_token_of(settings).read, ca=settings.consul_ca)
    replica = ConsulReplica(kv)
    try:
        if await replica.head() is not None:
            return []
        async with _leading(replica):
            if await replica.head() is not None:
                return []
            keys = await _copy_api_keys(kv, replica, local.keys)
            folder = StateFolder(settings.data_dir / STATES_FOLDER)
            states = await _keep(folder, ConsulStates(kv, replica.guard, prefix=PREFIX), local.states)
            # The head comes last: with it, all counts as taken over.
            await _fill(replica, local.memory)
            return LocalMemory(local.memory, states, keys).words
    finally:
        await replica.close()


async def _copy_api_keys(
    kv: ConsulKv, replica: ConsulReplica, keys: Mapping[str, ApiKey]
) -> Mapping[str, ApiKey]:
    """Have the gateway of the cluster know these keys, if it knows none; return what is new."""
    if not keys or await kv.get(KEY) is not None:
        return {}
    await kv.transact([replica.guard(), put_if(KEY, keys_to_json(keys), 0)])
    return keys


async def _keep(there: StateFolder, here: ConsulStates, saved: Sequence[SavedState]) -> Sequence[SavedState]:
    """Keep each state whose name is free; return those.

    Raises:
        ConfigError: One cannot be read.
    """
    taken = {state.name for state in await here.list()}
    kept = []
    for state in saved:
        if state.name in taken:
            continue
        data = await there.load(state.name)
        try:
            kept.append(await here.save(state.name, data, saved_s=state.saved_s))
        except ConfigError as exc:
            log.warning("A saved state stays in its file", extra={"reason": exc.message})
    return kept


async def _fill(replica: ConsulReplica, memory: MemoryState) -> None:
    if memory.is_empty:
        return
    with tempfile.TemporaryDirectory(prefix="twin-begin-") as folder:
        plan = await use_file(Path(folder) / SERVICE_FILE, lambda db: db.plan_import(memory))
    changes = plan.changes
    items = [change.item for change in changes if change.item is not None]
    await replica.replace(None, [change.event for change in changes], items)


@asynccontextmanager
async def _leading(replica: ConsulReplica) -> AsyncIterator[None]:
    """Hold the memory's lock.

    Raises:
        AdapterError: Another one has it.
    """
    for attempt in range(1, TRIES + 1):
        if await replica.acquire("twin memory init"):
            break
        holder = await replica.holder()
        if holder or attempt == TRIES:
            await replica.release()
            raise AdapterError(
                "memory-leads",
                f"A memory service runs already ({holder or 'its lock cannot be had'}).",
                hint="Add what this machine knows to it: twin memory import FILE",
            )
        await asyncio.sleep(LOCK_DELAY_S)
    renewing = asyncio.create_task(_keep_renewing(replica), name="memory-lock")
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.wait({renewing})
        with contextlib.suppress(AdapterError):
            await replica.release()


async def _keep_renewing(replica: ConsulReplica) -> None:
    while True:
        await asyncio.sleep(replica.lease_s / RENEWALS)
        # What is written checks the lock: when it is lost, that says so.
        with contextlib.suppress(AdapterError):
            await replica.renew()
