"""A cluster's memory begins with what a machine knew when it was alone, wherever the service then runs."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from pipecatapp.adapters.consul_kv import delete_below
from pipecatapp.adapters.faiss_store import SqliteFaissStore
from pipecatapp.adapters.memory_remote import RemoteMemory
from testing.cluster_agents import ConsulAgent
from testing.cluster_fixtures import consul_agent
from testing.conformance.memory_suite import STATE
from testing.fakes.fake_clock import FakeClock
from testing.fakes.fake_embedder import FakeEmbedder
from testing.integration.memory.memory_services import MemoryService, embedding_server, twin

__all__ = ["consul_agent"]

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

TAKEN = "the cluster's memory begins with 2 facts, 3 turns"
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
def begin(consul: ConsulAgent) -> Begin:
    def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        variables = {"TWIN_CONSUL_URL": consul.url, "CONSUL_HTTP_TOKEN": consul.token}
        folder.mkdir(exist_ok=True)
        return twin(MemoryService(folder, ""), "begin", *arguments, **variables)

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
async def memory(elsewhere: MemoryService) -> AsyncIterator[RemoteMemory]:
    await asyncio.to_thread(lambda: elsewhere.start().wait(role="leading"))
    memory = elsewhere.client()
    yield memory
    await memory.close()


def test_a_machine_says_what_it_knows_and_nothing_else_does(
    alone: Path, begin: Begin, consul: ConsulAgent, tmp_path: Path
) -> None:
    assert begin(alone, "--look").stdout == "2 facts, 3 turns\n"
    assert begin(tmp_path / "empty", "--look").stdout == "nothing\n"
    assert held(consul) == {}


async def test_a_service_on_another_machine_begins_with_it(
    alone: Path, begin: Begin, elsewhere: MemoryService
) -> None:
    done = await asyncio.to_thread(begin, alone)
    assert done.stdout.strip() == TAKEN, done.stderr
    await asyncio.to_thread(lambda: elsewhere.start().wait(role="leading"))
    memory = elsewhere.client()
    assert await memory.export_state() == STATE
    assert (await memory.verify()).is_whole
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
    alone: Path, begin: Begin, memory: RemoteMemory
) -> None:
    await memory.add_fact("My boat is called Albatross.")
    done = await asyncio.to_thread(begin, alone)
    assert done.stdout == "nothing to take over\n", done.stderr
    assert [fact.text for fact in await memory.list_facts()] == ["My boat is called Albatross."]
    assert (await memory.verify()).is_whole


async def test_where_a_service_runs_already_it_says_how_to_add_it(
    alone: Path, begin: Begin, memory: RemoteMemory
) -> None:
    done = await asyncio.to_thread(begin, alone)
    assert done.returncode == 1
    assert "runs already" in done.stderr and "twin memory import" in done.stderr
    assert await memory.list_facts() == []


async def test_the_copy_of_a_former_cluster_goes_before_the_older_file(alone: Path, begin: Begin) -> None:
    store = SqliteFaissStore(alone / "memory-service.sqlite", FakeEmbedder(), FakeClock())
    await store.add_fact("My boat is called Albatross.")
    await store.close()
    done = await asyncio.to_thread(begin, alone, "--look")
    assert done.stdout == "1 fact\n"
    done = await asyncio.to_thread(begin, alone)
    assert done.stdout.strip() == "the cluster's memory begins with 1 fact", done.stderr


def test_a_damaged_file_is_told_and_nothing_begins(alone: Path, begin: Begin, consul: ConsulAgent) -> None:
    (alone / "memory.sqlite").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    for extra in ((), ("--look",)):
        done = begin(alone, *extra)
        assert done.returncode == 1
        assert "memory.sqlite" in done.stderr
    assert held(consul) == {}
