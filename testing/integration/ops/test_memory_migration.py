"""A cluster's memory begins with what a machine knew when it was alone, wherever the service then runs."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from pipecatapp.adapters.consul.api_keys import ConsulApiKeyStore
from pipecatapp.adapters.consul.kv import ConsulKv, delete_below
from pipecatapp.adapters.host.api_key_file import FileApiKeyStore
from pipecatapp.adapters.memory.client import MemoryServiceClient
from pipecatapp.adapters.memory.consul_replica import ConsulReplica
from pipecatapp.adapters.memory.consul_states import ConsulStates
from pipecatapp.adapters.memory.remote import RemoteMemoryStore, RemoteStates
from pipecatapp.adapters.memory.sqlite_faiss import SqliteFaissStore
from pipecatapp.adapters.memory.state_folder import StateFolder
from pipecatapp.memory.state_file import decode_state, encode_state
from testing.cluster_agents import ConsulAgent
from testing.cluster_fixtures import consul_agent
from testing.conformance.keys_suite import key
from testing.conformance.memory_suite import STATE
from testing.fakes.fake_clock import FakeClock
from testing.fakes.fake_embedder import FakeEmbedder
from testing.integration.memory.memory_services import MemoryService, embedding_server, twin

__all__ = ["consul_agent"]

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

TAKEN = "the cluster's memory begins with 2 facts, 3 turns"
ALL = f"{TAKEN}, 2 saved states, 1 key"
RULES = 'key_prefix "twin/gateway" { policy = "read" }'
Begin = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def consul(consul_agent: ConsulAgent) -> ConsulAgent:
    """The agent, without a memory."""
    for session in consul_agent.request("GET", "/session/list"):
        consul_agent.request("PUT", f"/session/destroy/{session['ID']}")
    consul_agent.request("PUT", "/txn", [delete_below("twin/")])
    return consul_agent


def held(consul: ConsulAgent) -> dict[str, int]:
    """Return the keys that Consul holds of the house, each with the number of its last change."""
    found = consul.request("PUT", "/txn", [{"KV": {"Verb": "get-tree", "Key": "twin/"}}])["Results"] or []
    return {entry["KV"]["Key"]: entry["KV"]["ModifyIndex"] for entry in found}


@pytest.fixture
async def alone(tmp_path: Path) -> Path:
    """The folder of a machine that knows something and was alone until now."""
    folder = tmp_path / "alone"
    folder.mkdir()
    store = SqliteFaissStore(folder / "memory.sqlite", FakeEmbedder(), FakeClock())
    await store.import_state(STATE)
    await store.close()
    return folder


@pytest.fixture
async def furnished(alone: Path) -> Path:
    """The same folder, with saved states and a key of the gateway."""
    states = StateFolder(alone / "states")
    for name in ("holiday", "kitchen"):
        await states.save(name, encode_state(STATE, saved_s=5.0), saved_s=5.0)
    await FileApiKeyStore(alone).add(key(1))
    return alone


@pytest.fixture
def begin(consul: ConsulAgent) -> Begin:
    def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        variables = {"TWIN_CONSUL_URL": consul.url, "CONSUL_HTTP_TOKEN": consul.token}
        folder.mkdir(exist_ok=True)
        return twin(MemoryService(folder, ""), "init", *arguments, **variables)

    return run


@pytest.fixture
def elsewhere(consul: ConsulAgent, tmp_path: Path) -> Iterator[MemoryService]:
    """The memory service on a machine that never knew anything."""
    environment = {"TWIN_CONSUL_URL": consul.url, "CONSUL_HTTP_TOKEN": consul.token}
    with embedding_server() as url:
        made = MemoryService(tmp_path / "elsewhere", url, environment)
        yield made
        made.kill()


@pytest.fixture
async def memory(elsewhere: MemoryService) -> AsyncIterator[RemoteMemoryStore]:
    await asyncio.to_thread(lambda: elsewhere.start().wait(role="leading"))
    memory = elsewhere.client()
    yield memory
    await memory.close()


def test_a_machine_says_what_it_knows_and_nothing_else_does(
    alone: Path, begin: Begin, consul: ConsulAgent, tmp_path: Path
) -> None:
    assert begin(alone, "--dry-run").stdout == "2 facts, 3 turns\n"
    assert begin(tmp_path / "empty", "--dry-run").stdout == "nothing\n"
    assert held(consul) == {}


async def test_a_service_on_another_machine_begins_with_it(
    alone: Path, begin: Begin, elsewhere: MemoryService
) -> None:
    done = await asyncio.to_thread(begin, alone)
    assert done.stdout.strip() == TAKEN, done.stderr
    await asyncio.to_thread(lambda: elsewhere.start().wait(role="leading"))
    memory = elsewhere.client()
    assert await memory.export_state() == STATE
    assert (await memory.verify()).is_intact
    assert (await memory.search("bicycle", limit=1)) != []
    await memory.close()


def test_a_second_time_changes_nothing(alone: Path, begin: Begin, consul: ConsulAgent) -> None:
    assert begin(alone).stdout.strip() == TAKEN
    before = held(consul)
    again = begin(alone)
    assert again.stdout == "nothing to take over\n", again.stderr
    assert held(consul) == before


def test_a_machine_that_knows_nothing_does_not_count_as_a_beginning(
    alone: Path, begin: Begin, tmp_path: Path
) -> None:
    async def open_and_close() -> None:
        store = SqliteFaissStore(tmp_path / "empty" / "memory.sqlite", FakeEmbedder(), FakeClock())
        await store.open()
        await store.close()

    (tmp_path / "empty").mkdir()
    asyncio.run(open_and_close())
    assert begin(tmp_path / "empty").stdout == "nothing to take over\n"
    assert begin(alone).stdout.strip() == TAKEN


async def test_what_a_cluster_remembers_is_never_replaced(
    alone: Path, begin: Begin, memory: RemoteMemoryStore
) -> None:
    await memory.add_fact("My boat is called Albatross.")
    done = await asyncio.to_thread(begin, alone)
    assert done.stdout == "nothing to take over\n", done.stderr
    assert [fact.text for fact in await memory.list_facts()] == ["My boat is called Albatross."]
    assert (await memory.verify()).is_intact


async def test_where_a_service_runs_already_it_says_how_to_add_it(
    alone: Path, begin: Begin, memory: RemoteMemoryStore
) -> None:
    done = await asyncio.to_thread(begin, alone)
    assert done.returncode == 1
    assert "runs already" in done.stderr and "twin memory import" in done.stderr
    assert await memory.list_facts() == []


async def test_the_copy_of_a_former_cluster_goes_before_the_older_file(alone: Path, begin: Begin) -> None:
    store = SqliteFaissStore(alone / "memory-service.sqlite", FakeEmbedder(), FakeClock())
    await store.add_fact("My boat is called Albatross.")
    await store.close()
    done = await asyncio.to_thread(begin, alone, "--dry-run")
    assert done.stdout == "1 fact\n"
    done = await asyncio.to_thread(begin, alone)
    assert done.stdout.strip() == "the cluster's memory begins with 1 fact", done.stderr


def test_a_damaged_file_is_told_and_nothing_begins(alone: Path, begin: Begin, consul: ConsulAgent) -> None:
    (alone / "memory.sqlite").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    for extra in ((), ("--dry-run",)):
        done = begin(alone, *extra)
        assert done.returncode == 1
        assert "memory.sqlite" in done.stderr
    assert held(consul) == {}


async def test_saved_states_and_the_gateways_keys_come_along(
    furnished: Path, begin: Begin, elsewhere: MemoryService, consul: ConsulAgent
) -> None:
    look = await asyncio.to_thread(begin, furnished, "--dry-run")
    assert look.stdout == "2 facts, 3 turns, 2 saved states, 1 key\n", look.stderr
    done = await asyncio.to_thread(begin, furnished)
    assert done.stdout.strip() == ALL, done.stderr
    await asyncio.to_thread(lambda: elsewhere.start().wait(role="leading"))
    http = MemoryServiceClient(lambda: [elsewhere.url], elsewhere.token)
    states = RemoteStates(http)
    assert {state.name for state in await states.list()} == {"holiday", "kitchen"}
    assert decode_state("holiday", await states.load("holiday")) == STATE
    await http.close()
    gateway = await ConsulApiKeyStore.watch(ConsulKv(consul.url, lambda: consul.make_token(RULES)))
    assert dict(gateway.known()) == {"digest1": key(1)}
    await gateway.close()
    before = await asyncio.to_thread(held, consul)
    await asyncio.to_thread(elsewhere.stop)
    again = await asyncio.to_thread(begin, furnished)
    assert again.stdout == "nothing to take over\n", again.stderr
    assert {name: mark for name, mark in held(consul).items() if not name.endswith("/lock")} == {
        name: mark for name, mark in before.items() if not name.endswith("/lock")
    }


async def test_keys_and_states_that_consul_has_are_never_replaced(
    furnished: Path, begin: Begin, consul: ConsulAgent
) -> None:
    kv = ConsulKv(consul.url, lambda: consul.token)
    admin = await ConsulApiKeyStore.open(kv)
    await admin.add(key(7))
    replica = ConsulReplica(kv)
    assert await replica.acquire("test")
    states = ConsulStates(kv, replica.guard, prefix="twin/memory")
    await states.save("holiday", b"another", saved_s=1.0)
    await replica.release()
    done = await asyncio.to_thread(begin, furnished)
    assert done.stdout.strip() == f"{TAKEN}, 1 saved state", done.stderr
    seen = await ConsulApiKeyStore.open(kv)
    assert dict(seen.known()) == {"digest7": key(7)}
    assert await states.load("holiday") == b"another"
    assert decode_state("kitchen", await states.load("kitchen")) == STATE
    await kv.close()


async def test_a_beginning_that_was_broken_off_is_finished_by_the_next_one(
    furnished: Path, begin: Begin, consul: ConsulAgent
) -> None:
    good = (furnished / "states" / "kitchen.json").read_bytes()
    (furnished / "states" / "kitchen.json").unlink()
    first = await asyncio.to_thread(begin, furnished)
    assert first.stdout.strip() == f"{TAKEN}, 1 saved state, 1 key", first.stderr
    # The head is written last: without it nothing has begun.
    consul.request("DELETE", "/kv/twin/memory/head")
    (furnished / "states" / "kitchen.json").write_bytes(good)
    done = await asyncio.to_thread(begin, furnished)
    assert done.stdout.strip() == f"{TAKEN}, 1 saved state", done.stderr


async def test_a_state_that_is_too_large_for_consul_stays_a_file(
    furnished: Path, begin: Begin, consul: ConsulAgent
) -> None:
    (furnished / "states" / "large.json").write_bytes(os.urandom(16_100_000))
    done = await asyncio.to_thread(begin, furnished)
    assert done.stdout.strip().splitlines()[-1] == ALL, done.stderr
    assert "too large for Consul" in done.stderr
