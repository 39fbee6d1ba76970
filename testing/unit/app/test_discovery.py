"""What the agent says of the house's experts, and which directory it has without Consul."""

from __future__ import annotations

import asyncio

import pytest

from pipecatapp.adapters.discovery.static import StaticDirectory
from pipecatapp.app.discovery import (
    EndpointCredentials,
    credentials_for,
    describe_experts,
    follow_experts,
    memory_urls,
    open_directory,
)
from pipecatapp.app.engines import PickedLlm
from pipecatapp.errors import AdapterError
from pipecatapp.experts.expert_metadata import Profile
from pipecatapp.experts.external import ExternalExpert
from pipecatapp.experts.registry import ExpertRegistry
from pipecatapp.ports import Endpoint, Expert
from pipecatapp.settings import Settings
from testing.fakes.fake_clock import FakeClock
from testing.fakes.fake_directory import FakeDirectory
from testing.fakes.fake_experts import FakeExperts
from testing.fakes.fake_llm import FakeLlm

pytestmark = pytest.mark.unit

MAIN = Endpoint(
    service="llama-api-main",
    id="n1/a",
    node="n1",
    address="10.0.0.1",
    port=20001,
    tags=("x",),
    meta={"description": "Talk."},
)


def settings(**values: str) -> Settings:
    return Settings(**values)  # type: ignore[arg-type]


async def test_without_consul_the_agents_own_model_is_the_expert_main() -> None:
    directory = await open_directory(settings(), FakeClock())
    assert isinstance(directory, StaticDirectory)
    alone = settings(llm_base_url="http://llm.lan:81/v1")
    view = describe_experts(directory, alone, PickedLlm(FakeLlm(), None, "why"), FakeExperts())
    assert [expert["name"] for expert in view["experts"]] == ["main"]
    assert view["experts"][0]["endpoints"][0]["address"] == "llm.lan"
    assert view["experts"][0]["endpoints"][0]["port"] == 81
    assert (view["stale"], view["experts"][0]["passing"]) == (False, 1)


def test_experts_are_told_with_what_is_known_of_them() -> None:
    ill = Endpoint(
        service="llama-api-math", id="n2/b", node="n2", address="10.0.0.2", port=20002, passing=False
    )
    directory = FakeDirectory(MAIN, ill)
    said = FakeExperts(Expert("main", "Talk.", ("Hello",)), Expert("math", is_up=False))
    view = describe_experts(directory, settings(), PickedLlm(FakeLlm(), None, "why"), said)
    assert (view["experts"][0]["description"], view["experts"][0]["examples"]) == ("Talk.", ("Hello",))
    assert [(expert["name"], expert["passing"]) for expert in view["experts"]] == [("main", 1), ("math", 0)]
    assert view["experts"][0]["endpoints"] == [
        {
            "service": "llama-api-main",
            "id": "n1/a",
            "node": "n1",
            "address": "10.0.0.1",
            "port": 20001,
            "tags": ("x",),
            "passing": True,
            "elsewhere": "",
        }
    ]


async def test_an_expert_elsewhere_is_told_with_its_address_and_without_its_key() -> None:
    oracle = ExternalExpert(
        name="oracle", base_url="https://api.example.com/v1", model="large", api_key="hunter2"
    )
    directory = await open_directory(settings(), FakeClock(), [oracle])
    book = ExpertRegistry(directory, FakeExperts(), {"oracle": Profile(description="Law.")})
    view = describe_experts(directory, settings(), PickedLlm(FakeLlm(), None, "why"), book)
    told = view["experts"][1]
    assert (told["name"], told["description"], told["passing"]) == ("oracle", "Law.", 1)
    assert told["endpoints"][0]["elsewhere"] == "https://api.example.com/v1"
    assert "hunter2" not in repr(view) + repr(oracle)


def test_an_expert_elsewhere_never_sees_the_houses_key_nor_the_house_its() -> None:
    oracle = ExternalExpert(
        name="main-2", base_url="https://api.example.com/v1", model="large", api_key="theirs"
    )
    free = ExternalExpert(name="free", base_url="http://box.lan:1/v1", model="small")
    credentials = credentials_for(settings(TWIN_EXPERT_KEY="ours", LLM_MODEL="own"), [oracle, free])
    assert credentials(MAIN) == EndpointCredentials("own", "ours")
    assert credentials(oracle.endpoint) == EndpointCredentials("large", "theirs", is_llama=False)
    assert credentials(free.endpoint) == EndpointCredentials("small", "", is_llama=False)
    assert "theirs" not in repr(credentials(oracle.endpoint))


def test_what_is_stale_is_marked_with_its_age() -> None:
    clock = FakeClock()
    directory = FakeDirectory(MAIN, clock=clock)
    directory.go_away()
    clock.advance(30)
    view = describe_experts(directory, settings(), PickedLlm(FakeLlm(), None, "why"), FakeExperts())
    assert (view["stale"], view["age_s"], view["reason"]) == (True, 30.0, "the fake went away")
    assert view["experts"][0]["passing"] == 1


def test_the_memorys_addresses_follow_the_directory() -> None:
    directory = FakeDirectory()
    urls = memory_urls(directory)
    assert urls() == []
    directory.put(Endpoint(service="memory-service", id="n1/m", node="n1", address="10.0.0.1", port=20003))
    assert urls() == ["http://10.0.0.1:20003"]


@pytest.mark.parametrize(("is_elsewhere", "is_up"), [(None, True), (True, True), (False, False)])
def test_a_model_elsewhere_counts_as_up(is_elsewhere: bool | None, is_up: bool) -> None:
    question = None if is_elsewhere is None else lambda: is_elsewhere
    assert PickedLlm(FakeLlm(), None, "why", question).is_up() is is_up  # type: ignore[arg-type]


async def test_what_experts_say_is_read_ahead_whenever_they_change() -> None:
    directory, read = FakeDirectory(), asyncio.Queue[int]()

    async def warm() -> None:
        read.put_nowait(directory.version)
        if len(directory.services()) == 1:
            raise AdapterError("engine-failed", "no embeddings")

    following = asyncio.create_task(follow_experts(directory, warm))
    await asyncio.sleep(0)
    directory.put(MAIN)
    assert await read.get() == 1
    directory.put(Endpoint(service="llama-api-math", id="n2/b", node="n2", address="10.0.0.2", port=20002))
    assert await read.get() == 2, "a failure ends nothing"
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
