"""The memory service over a real Consul: a node is lost, two want to lead, Consul is away."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from pipecatapp.adapters.consul.kv import ConsulKv, delete_below
from pipecatapp.adapters.memory.consul_replica import ConsulReplica
from pipecatapp.adapters.memory.consul_states import ConsulStates
from pipecatapp.adapters.memory.remote import RemoteMemoryStore
from pipecatapp.adapters.memory.sqlite_faiss import SqliteFaissStore
from pipecatapp.errors import AdapterError
from testing.cluster_agents import ConsulAgent
from testing.cluster_fixtures import consul_agent
from testing.conformance.memory_suite import STATE, MemorySuite, turn
from testing.conformance.replica_suite import ReplicaSuite, lead
from testing.conformance.states_suite import StatesSuite
from testing.fakes.fake_clock import FakeClock
from testing.fakes.fake_embedder import FakeEmbedder
from testing.integration.memory.memory_services import MemoryService, embedding_server, twin

__all__ = ["consul_agent"]

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

RULES = 'key_prefix "twin/memory" { policy = "write" } session_prefix "" { policy = "write" }'
"""What the service's token may do."""
Start = Callable[..., MemoryService]


@pytest.fixture(scope="module")
def embedder_url() -> Iterator[str]:
    with embedding_server() as url:
        yield url


@pytest.fixture(scope="module")
def token(consul_agent: ConsulAgent) -> str:
    return consul_agent.make_token(RULES)


def forget_memory(consul: ConsulAgent) -> None:
    for session in consul.request("GET", "/session/list"):
        consul.request("PUT", f"/session/destroy/{session['ID']}")
    consul.request("PUT", "/txn", [delete_below("twin/memory/")])


@pytest.fixture
def consul(consul_agent: ConsulAgent) -> ConsulAgent:
    """The agent, without a memory."""
    forget_memory(consul_agent)
    return consul_agent


@pytest.fixture
def kv(consul: ConsulAgent, token: str) -> ConsulKv:
    return ConsulKv(consul.url, lambda: token)


class TestConsulReplica(ReplicaSuite):
    @pytest.fixture
    async def replicas(self, consul: ConsulAgent, token: str) -> AsyncIterator[tuple[ConsulReplica, ...]]:
        made = tuple(ConsulReplica(ConsulKv(consul.url, lambda: token)) for _ in range(2))
        yield made
        for replica in made:
            await replica.close()


class TestConsulStates(StatesSuite):
    @pytest.fixture
    async def states(self, kv: ConsulKv) -> AsyncIterator[ConsulStates]:
        replica = ConsulReplica(kv)
        await lead(replica)
        yield ConsulStates(kv, replica.guard, prefix="twin/memory")
        await replica.close()


@pytest.fixture
def start(consul: ConsulAgent, token: str, embedder_url: str, tmp_path: Path) -> Iterator[Start]:
    made: list[MemoryService] = []

    def start_one(name: str, *, role: str = "leading", url: str = consul.url) -> MemoryService:
        environment = {"TWIN_CONSUL_URL": url, "CONSUL_HTTP_TOKEN": token}
        made.append(MemoryService(tmp_path / name, embedder_url, environment))
        return made[-1].start().wait(role=role)

    yield start_one
    for service in made:
        service.kill()


def keys(consul: ConsulAgent) -> str:
    """Return all that Consul holds of the memory, decoded."""
    found = consul.request("GET", "/kv/twin/memory?recurse") or []
    return "\n".join(base64.b64decode(entry["Value"] or "").decode(errors="replace") for entry in found)


@pytest.fixture(scope="class")
def service(
    consul_agent: ConsulAgent, token: str, embedder_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MemoryService]:
    forget_memory(consul_agent)
    environment = {"TWIN_CONSUL_URL": consul_agent.url, "CONSUL_HTTP_TOKEN": token}
    made = MemoryService(tmp_path_factory.mktemp("suite"), embedder_url, environment)
    yield made.start().wait(role="leading")
    made.kill()


class TestClusteredMemory(MemorySuite):
    @pytest.fixture
    async def memory(self, service: MemoryService) -> AsyncIterator[RemoteMemoryStore]:
        memory = service.client()
        await memory.delete_all()
        yield memory
        assert (await memory.verify()).is_intact
        await memory.close()


async def test_a_killed_service_is_replaced_from_an_empty_folder_and_nothing_is_lost_or_doubled(
    start: Start, consul: ConsulAgent
) -> None:
    first = await asyncio.to_thread(start, "first")
    second = await asyncio.to_thread(lambda: start("second", role="waiting"))
    memory = first.client(second)
    await memory.import_state(STATE)
    acknowledged: list[str] = []
    is_going = asyncio.Event()
    killed = asyncio.Event()

    async def write(name: str) -> None:
        for number in itertools.count():
            fact = await memory.add_fact(f"The box of {name} number {number} is full.")
            await memory.append_turn(name, turn(number))
            acknowledged.append(fact.id)
            if len(acknowledged) == 40:
                is_going.set()
            # What waits while nobody answers waits at once: a slow end of the process would fill the queue.
            if number > 200 or (killed.is_set() and number > 20):
                return
            await asyncio.sleep(0)

    async def kill() -> None:
        await is_going.wait()
        await asyncio.to_thread(first.kill)
        killed.set()

    await asyncio.gather(write("left"), write("right"), kill())
    await asyncio.to_thread(lambda: second.wait(role="leading"))
    await memory.delete_fact("none")  # behind all that waits
    assert memory.status() == {"kind": "remote", "url": second.url, "is_away": False, "queued": 0}
    facts = await memory.list_facts()
    assert sorted(fact.id for fact in facts) == sorted([*acknowledged, "a", "b"])
    assert len({fact.text for fact in facts}) == len(facts)
    for name in ("left", "right"):
        turns = await memory.recent_turns(name, limit=1000)
        assert [item.turn_id for item in turns] == [f"turn-{number}" for number in range(len(turns))]
    assert sum(len(turns) for turns in (await memory.export_state()).conversations.values()) == (
        len(acknowledged) + 3
    )
    assert (await memory.verify()).is_intact
    assert (await memory.search("box of left number 3", limit=1))[0].text.startswith("The box of left")
    assert await asyncio.to_thread(lambda: twin(second, "verify").returncode) == 0
    await memory.close()


async def test_two_instances_take_turns_and_a_peaceful_end_hands_over_at_once(start: Start) -> None:
    first = await asyncio.to_thread(start, "first")
    second = await asyncio.to_thread(lambda: start("second", role="waiting"))
    assert first.health()[0] == 200 and second.health()[0] == 503
    there = second.client()
    with pytest.raises(AdapterError, match="does not lead") as caught:
        await there.list_facts()
    assert first.url in caught.value.message
    here = first.client()
    fact = await here.add_fact("My dog is called Biscuit.")
    assert await asyncio.to_thread(first.stop) == 0
    await asyncio.to_thread(lambda: second.wait(role="leading"))
    assert await there.list_facts() == [fact]
    await there.close()
    await here.close()


async def test_writes_go_on_while_consul_is_stopped_and_reach_it_when_it_is_back(
    start: Start, consul: ConsulAgent
) -> None:
    service = await asyncio.to_thread(start, "first")
    memory = service.client()
    dog = await memory.add_fact("My dog is called Biscuit.")
    await asyncio.to_thread(consul.kill)
    try:
        cat = await memory.add_fact("My cat is called Tom.")
        await memory.append_turn("s", turn(1))
        assert await memory.delete_fact(dog.id)
        assert await memory.list_facts() == [cat]
        for asked in (memory.delete_all(), memory.import_state(STATE)):
            with pytest.raises(AdapterError, match="Consul"):
                await asked
        await asyncio.to_thread(lambda: service.wait(role="cut-off", pending=3))
        assert service.health()[0] == 503
        await memory.append_turn("s", turn(2))
    finally:
        consul.start()  # not in another thread: Consul would end together with that
    await asyncio.to_thread(lambda: service.wait(role="leading", pending=0))
    assert (await memory.verify()).is_intact
    await asyncio.to_thread(service.kill)
    second = await asyncio.to_thread(start, "second")
    again = second.client()
    assert await again.list_facts() == [cat]
    assert await again.recent_turns("s", limit=10) == [turn(1), turn(2)]
    assert (await again.verify()).is_intact
    await memory.close()
    await again.close()


class Link:
    """A way to Consul that can be cut: nothing passes, and nothing is refused either.

    Args:
        port: Consul's.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._is_open = asyncio.Event()
        self._is_open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None
        self.url = ""

    async def open(self) -> Link:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def cut(self) -> None:
        self._is_open.clear()

    def mend(self) -> None:
        self._is_open.set()

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(each.wait_closed() for each in self._writers), return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, there_writer]
        for source, sink in ((reader, there_writer), (there_reader, writer)):
            self._tasks.add(asyncio.create_task(self._pass(source, sink)))

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                await self._is_open.wait()
                sink.write(data)
                await sink.drain()
        sink.close()


async def test_a_cut_off_instance_changes_nothing_and_hands_over_what_it_took_in(
    start: Start, consul: ConsulAgent
) -> None:
    link = await Link(consul.port).open()
    first = await asyncio.to_thread(lambda: start("first", url=link.url))
    second = await asyncio.to_thread(lambda: start("second", role="waiting"))
    old, new = first.client(), second.client()
    dog = await old.add_fact("My dog is called Biscuit.")
    eel = await old.add_fact("My eel is called Ede.")
    link.cut()
    cat = await old.add_fact("My cat is called Tom.")
    assert await old.delete_fact(dog.id)
    await old.append_turn("s", turn(1))
    await asyncio.to_thread(lambda: second.wait(role="leading"))
    await asyncio.to_thread(lambda: first.wait(role="cut-off"))
    assert first.health()[0] == 503
    assert await new.list_facts() == [dog, eel]
    ant = await new.add_fact("My ant is called Ida.")
    await new.append_turn("s", turn(2))
    await old.append_turn("s", turn(3))
    link.mend()
    await asyncio.to_thread(lambda: first.wait(role="waiting", pending=0))
    assert await new.list_facts() == [eel, cat, ant]
    turns = await new.recent_turns("s", limit=10)
    assert turns == [turn(2), turn(1), turn(3)]
    report = await new.verify()
    assert report.is_intact
    # Whoever takes over what was handed over has it once.
    await asyncio.to_thread(second.kill)
    await asyncio.to_thread(lambda: first.wait(role="leading"))
    assert await old.list_facts() == [eel, cat, ant]
    assert await old.recent_turns("s", limit=10) == turns
    assert await old.verify() == report
    await old.close()
    await new.close()
    await link.close()


async def test_what_is_forgotten_is_nowhere(start: Start, consul: ConsulAgent, token: str) -> None:
    service = await asyncio.to_thread(start, "first")
    memory = service.client()
    fact = await memory.add_fact("My secret word is Xylophone.")
    await memory.append_turn("s", turn(1, text="Zanzibar"))
    await memory.import_state(STATE)
    second = await memory.add_fact("My secret word is Quagga.")
    assert "Quagga" in keys(consul) and "Xylophone" not in keys(consul)
    await memory.delete_fact(second.id)
    assert "Quagga" not in keys(consul)
    await memory.delete_all()

    def held() -> bytes:
        files = [path for path in service.folder.iterdir() if path.name.startswith("memory-service.sqlite")]
        return b"".join(path.read_bytes() for path in files) + keys(consul).encode()

    text = await asyncio.to_thread(held)
    for word in (b"Xylophone", b"Zanzibar", b"Quagga", b"Volvo"):
        assert word not in text
    assert fact.id.encode() in text, "the chain still says that there was a fact"
    assert (await memory.verify()).is_intact
    await memory.close()


async def test_a_standalone_nodes_memory_begins_the_clusters(start: Start, tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    store = SqliteFaissStore(tmp_path / "first" / "memory.sqlite", FakeEmbedder(), FakeClock())
    await store.import_state(STATE)
    await store.close()
    first = await asyncio.to_thread(start, "first")
    await asyncio.to_thread(first.stop)
    second = await asyncio.to_thread(start, "second")
    memory = second.client()
    assert await memory.export_state() == STATE
    assert (await memory.verify()).is_intact
    await memory.close()


async def test_tampering_in_consul_is_told_and_not_taken_over(
    start: Start, consul: ConsulAgent, tmp_path: Path
) -> None:
    first = await asyncio.to_thread(start, "first")
    memory = first.client()
    await memory.import_state(STATE)
    await memory.close()
    await asyncio.to_thread(first.stop)
    events = "/kv/twin/memory/events/00000000"
    second_event = consul.request("GET", f"{events}/002?raw")
    consul.request("PUT", f"{events}/002", {**second_event, "ref": "z"})
    second = await asyncio.to_thread(lambda: start("second", role="waiting"))
    deadline = asyncio.get_running_loop().time() + 90
    while "event 2 was changed" not in (health := await asyncio.to_thread(second.health))[1]["detail"]:
        assert asyncio.get_running_loop().time() < deadline, health
        await asyncio.sleep(0.2)
    assert health[0] == 503
