"""The memory service over HTTP: the port's promises by a real process, its token, and being away."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from pipecatapp.adapters.memory.client import MemoryServiceClient
from pipecatapp.adapters.memory.remote import RemoteMemoryStore, RemoteStates
from pipecatapp.adapters.memory.sqlite_faiss import SqliteFaissStore
from pipecatapp.adapters.tls.local_ca import ensure_certificates
from pipecatapp.agent.service import TwinService
from pipecatapp.errors import AdapterError, ConfigError
from pipecatapp.settings import Settings
from testing.conformance.memory_suite import STATE, MemorySuite, turn
from testing.conformance.states_suite import StatesSuite
from testing.fakes.fake_clock import FakeClock
from testing.fakes.fake_embedder import FakeEmbedder
from testing.fakes.scripted_workflow import ScriptedWorkflow
from testing.integration.memory.memory_services import (
    POLL_S,
    TOKEN,
    WAIT_S,
    MemoryService,
    embedding_server,
    twin,
)

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def embedder_url() -> Iterator[str]:
    with embedding_server() as url:
        yield url


@pytest.fixture(scope="module")
def shared(embedder_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MemoryService]:
    service = MemoryService(tmp_path_factory.mktemp("shared"), embedder_url).start().wait(role="alone")
    yield service
    service.kill()


@pytest.fixture
def service(embedder_url: str, tmp_path: Path) -> Iterator[MemoryService]:
    made = MemoryService(tmp_path / "service", embedder_url)
    yield made
    made.kill()


class TestRemoteMemory(MemorySuite):
    @pytest.fixture
    async def memory(self, shared: MemoryService) -> AsyncIterator[RemoteMemoryStore]:
        memory = shared.client()
        await memory.delete_all()
        yield memory
        await memory.close()


class TestRemoteStates(StatesSuite):
    @pytest.fixture
    async def states(self, shared: MemoryService) -> AsyncIterator[RemoteStates]:
        shutil.rmtree(shared.folder / "states", ignore_errors=True)
        http = MemoryServiceClient(lambda: [shared.url], TOKEN)
        yield RemoteStates(http)
        await http.close()


async def delivered(memory: RemoteMemoryStore) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while memory.status()["queued"]:
        assert time.monotonic() < deadline_s
        await asyncio.sleep(POLL_S)


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", TOKEN[:-1]])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/facts"),
        ("GET", "/v1/state"),
        ("POST", "/v1/forget"),
        ("GET", "/v1/states"),
        ("GET", "/none"),
    ],
)
def test_without_the_token_nothing_is_told_or_done(
    shared: MemoryService, token: str, method: str, path: str
) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    reply = httpx.request(method, shared.url + path, headers=headers, trust_env=False)
    assert reply.status_code == 401
    assert reply.json()["error"]["code"] == "token"


def test_health_is_open_and_tells_nothing_of_what_is_remembered(shared: MemoryService) -> None:
    status, body = shared.health()
    assert (status, body["role"]) == (200, "alone")
    assert set(body) == {"status", "role", "detail", "pending", "seq"}


async def test_a_wrong_token_is_told_and_the_write_waits(shared: MemoryService) -> None:
    memory = RemoteMemoryStore(MemoryServiceClient(lambda: [shared.url], "wrong"), FakeClock())
    with pytest.raises(AdapterError, match="wants its token"):
        await memory.list_facts()
    await memory.append_turn("s", turn(1))
    assert memory.status()["queued"] == 1
    await memory.close()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/facts", {"request_id": "12345678", "text": " "}, 422),
        ("/v1/facts", {"request_id": "short", "text": "x"}, 422),
        ("/v1/facts", {"request_id": "12345678", "text": "x", "more": 1}, 422),
        ("/v1/facts", {"request_id": "12345678", "text": "x" * 32_001}, 422),
        ("/v1/search", {"query": "x" * 1_000_000, "limit": 1}, 413),
    ],
)
def test_a_bad_request_is_refused_in_words(
    shared: MemoryService, path: str, body: dict[str, object], status: int
) -> None:
    reply = httpx.post(
        shared.url + path, json=body, headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False
    )
    assert reply.status_code == status
    assert reply.json()["error"]["message"]


def test_a_request_that_comes_again_is_done_once(shared: MemoryService) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}

    def ask(path: str, body: dict[str, object]) -> object:
        return httpx.post(shared.url + path, json=body, headers=headers, trust_env=False).json()

    ask("/v1/forget", {"request_id": "forget-first"})
    added = [ask("/v1/facts", {"request_id": "add-a-fact-1", "text": "I like tea."}) for _ in range(2)]
    assert added[0] == added[1]
    seq = shared.health()[1]["seq"]
    deleted = [
        ask("/v1/facts/delete", {"request_id": "delete-it-1", "fact_id": "add-a-fact-1"}) for _ in "12"
    ]
    assert deleted == [{"deleted": True}] * 2
    ask("/v1/facts", {"request_id": "add-a-fact-1", "text": "I like tea."})
    assert ask("/v1/forget", {"request_id": "forget-1"}) == {"deleted": 0}
    ask("/v1/facts", {"request_id": "add-a-fact-2", "text": "I like tea."})
    assert ask("/v1/forget", {"request_id": "forget-1"}) == {"deleted": 0}
    assert shared.health()[1]["seq"] == seq + 3
    facts = httpx.get(shared.url + "/v1/facts", headers=headers, trust_env=False).json()
    assert [fact["id"] for fact in facts] == ["add-a-fact-2"]


async def test_a_turn_goes_on_and_is_delivered_once_in_order_when_the_service_is_back(
    service: MemoryService,
) -> None:
    await asyncio.to_thread(lambda: service.start().wait(role="alone"))
    memory = service.client()
    await memory.append_turn("s", turn(0))
    assert await memory.recent_turns("s", limit=10) == [turn(0)]
    await asyncio.to_thread(service.kill)
    fact = await memory.add_fact("My dog is called Biscuit.", session_id="s")
    for number in range(1, 5):
        await memory.append_turn("s", turn(number))
    assert memory.status()["queued"] == 5 and memory.status()["is_away"]
    assert await memory.recent_turns("s", limit=10) == [turn(number) for number in range(5)]
    assert await memory.recent_turns("s", limit=2) == [turn(3), turn(4)]
    for asked in (
        memory.search("dog", limit=1),
        memory.list_facts(),
        memory.delete_all(),
        memory.export_state(),
    ):
        with pytest.raises(AdapterError) as caught:
            await asked
        assert caught.value.retryable
    await asyncio.to_thread(lambda: service.start().wait(role="alone"))
    await delivered(memory)
    assert await memory.recent_turns("s", limit=10) == [turn(number) for number in range(5)]
    assert [kept.id for kept in await memory.list_facts()] == [fact.id]
    assert (await memory.verify()).is_intact
    assert (await memory.search("What is my dog called?", limit=1))[0].id == fact.id
    await memory.close()


async def test_a_conversation_and_a_saved_state_outlive_the_service(
    service: MemoryService, tmp_path: Path
) -> None:
    await asyncio.to_thread(lambda: service.start().wait(role="alone"))
    http = MemoryServiceClient(lambda: [service.url], TOKEN)
    memory = RemoteMemoryStore(http, FakeClock())
    settings = Settings(data_dir=tmp_path / "agent")  # type: ignore[call-arg]
    agent = TwinService(ScriptedWorkflow(), memory, FakeClock(), settings, RemoteStates(http))
    name = (await agent.chat("", "one")).session_id
    await agent.save_state("monday")
    await asyncio.to_thread(service.kill)
    for text in ("two", "three"):
        assert not (await agent.chat(name, text)).interrupted
    with pytest.raises(AdapterError, match="memory service"):
        await agent.save_state("tuesday")
    await asyncio.to_thread(lambda: service.start().wait(role="alone"))
    await delivered(memory)
    assert [turn.user_text for turn in await memory.recent_turns(name, limit=9)] == ["one", "two", "three"]
    assert [state.name for state in await agent.list_states()] == ["monday"]
    await agent.load_state("monday")
    assert [turn.user_text for turn in agent.get(name).turns] == ["one"]
    with pytest.raises(ConfigError, match="saved: monday"):
        await agent.load_state("tuesday")
    await agent.close()
    await memory.close()


async def test_the_next_address_is_asked_when_one_does_not_answer(shared: MemoryService) -> None:
    http = MemoryServiceClient(lambda: ["http://127.0.0.1:9", shared.url], TOKEN)
    memory = RemoteMemoryStore(http, FakeClock())
    await memory.delete_all()
    fact = await memory.add_fact("My cat is grey.")
    assert await memory.list_facts() == [fact]
    assert memory.status() == {"kind": "remote", "url": shared.url, "is_away": False, "queued": 0}
    await memory.close()


async def test_it_speaks_tls_with_a_certificate(service: MemoryService, tmp_path: Path) -> None:
    files = ensure_certificates(tmp_path / "tls", ["127.0.0.1"])
    service.arguments = ("--certificate", str(files.certificate), "--key", str(files.key))
    await asyncio.to_thread(service.start)
    url = f"https://127.0.0.1:{service.port}"
    trusting = RemoteMemoryStore(MemoryServiceClient(lambda: [url], TOKEN, ca=files.ca), FakeClock())
    async with asyncio.timeout(60):
        while True:
            try:
                await trusting.list_facts()
                break
            except AdapterError:
                await asyncio.sleep(0.1)
    doubting = RemoteMemoryStore(MemoryServiceClient(lambda: [url], TOKEN), FakeClock())
    with pytest.raises(AdapterError, match="CERTIFICATE_VERIFY_FAILED"):
        await doubting.list_facts()
    await trusting.close()
    await doubting.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1"])
def test_it_does_not_listen_to_others_without_a_token(service: MemoryService, host: str) -> None:
    service.token = ""
    done = twin(service, "serve", "--host", host, "--port", "0")
    assert done.returncode == 1
    assert "without a token" in done.stderr and "TWIN_MEMORY_TOKEN" in done.stderr


def test_a_second_one_in_the_same_folder_is_refused(service: MemoryService) -> None:
    service.start().wait(role="alone")
    done = twin(
        service, "serve", "--port", "0", EMBEDDER_SERVICE="openai", EMBEDDER_BASE_URL=service.embedder_url
    )
    assert done.returncode == 1
    assert "Another memory service uses" in done.stderr


async def test_a_standalone_nodes_memory_is_taken_over_and_another_added(
    service: MemoryService, tmp_path: Path
) -> None:
    service.folder.mkdir()
    for path in (service.folder / "memory.sqlite", tmp_path / "other.sqlite"):
        store = SqliteFaissStore(path, FakeEmbedder(), FakeClock())
        await store.import_state(STATE)
        await store.add_fact(f"I came from {path.stem}.")
        await store.close()
    await asyncio.to_thread(lambda: service.start().wait(role="alone"))
    memory = service.client()
    kept = await memory.export_state()
    assert kept.conversations == STATE.conversations
    assert [fact.text for fact in kept.facts][2:] == ["I came from memory."]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        done = twin(service, *arguments)
        assert done.returncode == 0, done.stderr
        return done

    assert "added 1 " in (await asyncio.to_thread(run, "import", str(tmp_path / "other.sqlite"))).stdout
    assert "added 0 " in (await asyncio.to_thread(run, "import", str(tmp_path / "other.sqlite"))).stdout
    await asyncio.to_thread(run, "export", str(tmp_path / "copy.json"))
    whole = await memory.export_state()
    assert len(whole.facts) == 4
    await memory.delete_all()
    assert "added 7 " in (await asyncio.to_thread(run, "import", str(tmp_path / "copy.json"))).stdout
    assert await memory.export_state() == whole
    assert (await asyncio.to_thread(run, "verify")).stdout.startswith("whole: ")
    await memory.close()


def test_verify_names_the_first_broken_event_of_a_file_and_fails(
    service: MemoryService, tmp_path: Path
) -> None:
    path = tmp_path / "memory.sqlite"

    async def tamper() -> None:
        store = SqliteFaissStore(path, FakeEmbedder(), FakeClock())
        await store.import_state(STATE)
        await store.use(lambda db: db._db.execute("UPDATE facts SET text = 'x' WHERE id = 'b'"))
        await store.close()

    asyncio.run(tamper())
    done = twin(service, "verify", "--file", str(path))
    assert done.returncode == 1
    assert done.stdout.startswith("BROKEN at event 3: the fact 'b' is not what event 3 says")
    assert twin(service, "verify", "--file", str(tmp_path / "none.sqlite")).returncode == 1
