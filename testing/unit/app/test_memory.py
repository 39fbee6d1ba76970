"""Which memory an agent has, by its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipecatapp.adapters.memory.remote import RemoteMemoryStore, RemoteStates
from pipecatapp.adapters.memory.sqlite_faiss import SqliteFaissStore
from pipecatapp.adapters.memory.state_folder import StateFolder
from pipecatapp.app.memory import AgentMemory, memory_http, pick_memory
from pipecatapp.errors import ConfigError
from pipecatapp.settings import Settings
from testing.fakes.fake_clock import FakeClock
from testing.fakes.fake_embedder import FakeEmbedder

pytestmark = pytest.mark.unit

FOUND = ["http://192.0.2.7:20001"]


def picked(folder: Path, **values: Any) -> AgentMemory:
    settings = Settings(data_dir=folder, **values)  # type: ignore[call-arg]
    return pick_memory(settings, FakeEmbedder(), FakeClock(), lambda: FOUND)


async def test_a_lone_node_keeps_its_memory_in_its_own_files(tmp_path: Path) -> None:
    memory = picked(tmp_path)
    assert isinstance(memory.store, SqliteFaissStore) and isinstance(memory.states, StateFolder)
    assert memory.status() == {"kind": "local", "file": str(tmp_path / "memory.sqlite")}
    assert "TWIN_MEMORY=local" in memory.reason
    await memory.store.close()


async def test_the_address_that_is_given_goes_before_consuls(tmp_path: Path) -> None:
    memory = picked(tmp_path, memory="remote", memory_url="http://a:1, http://b:2", consul_url="http://c:3")
    assert isinstance(memory.store, RemoteMemoryStore) and isinstance(memory.states, RemoteStates)
    assert memory.status() == {"kind": "remote", "url": "http://a:1", "is_away": False, "queued": 0}
    await memory.store.close()


async def test_what_consul_knows_is_followed(tmp_path: Path) -> None:
    memory = picked(tmp_path, memory="remote", consul_url="http://c:3")
    assert memory.status()["url"] == FOUND[0]
    assert "memory-service in Consul" in memory.reason
    await memory.store.close()


async def test_with_an_authority_the_service_is_asked_by_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipecatapp.adapters.memory.client.client_context", lambda _ca, hint: True)
    memory = picked(tmp_path, memory="remote", consul_url="http://c:3", memory_ca=tmp_path / "ca.crt")
    assert memory.status()["url"] == "https://192.0.2.7:20001"
    await memory.store.close()


@pytest.mark.parametrize(
    ("values", "hint"),
    [({}, "TWIN_MEMORY_URL"), ({"memory_url": "https://a", "memory_ca": Path("/none.pem")}, "PEM")],
)
def test_a_remote_memory_that_nobody_can_find_or_trust_stops_the_start(
    tmp_path: Path, values: dict[str, Any], hint: str
) -> None:
    settings = Settings(data_dir=tmp_path, memory="remote", **values)  # type: ignore[call-arg]
    with pytest.raises(ConfigError) as caught:
        memory_http(settings, lambda: FOUND)
    assert hint in caught.value.hint
