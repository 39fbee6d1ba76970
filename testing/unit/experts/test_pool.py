"""Every expert can be asked by its name, and somebody answers for each."""

from __future__ import annotations

import pytest

from pipecatapp.errors import AdapterError
from pipecatapp.experts.external import ExternalExpert
from pipecatapp.experts.pool import ExpertPool
from pipecatapp.ports import ChatRequest, Endpoint, ExpertClients, LlmClient
from testing.conformance.llm_suite import COUNT, collect, text_of
from testing.fakes.fake_clock import FakeClock
from testing.fakes.fake_directory import FakeDirectory
from testing.fakes.fake_llm import FakeLlm

pytestmark = pytest.mark.unit

GONE = AdapterError("llm-unreachable", "nobody is there", retryable=True)


class Named(FakeLlm):
    """A model that says its own name."""

    def __init__(self, name: str) -> None:
        super().__init__((f"I am {name}",))
        self._own_name = name

    @property
    def name(self) -> str:
        return self._own_name


class House:
    """A directory of experts on one address, a port each, and a pool that follows it."""

    def __init__(self, *experts: str, own: Named | None = None, uses_only_own_llm: bool = False) -> None:
        self.models: dict[str, Named] = {}
        self.connected: list[str] = []
        self.directory = FakeDirectory()
        self.pool = ExpertPool(
            self.directory, self.connect, FakeClock(), own=own, uses_only_own_llm=uses_only_own_llm
        )
        for expert in experts:
            self.add(expert)

    def add(self, expert: str) -> None:
        self.models[expert] = Named(expert)
        port = 1000 + len(self.models)
        self.directory.put(
            Endpoint(service=f"llama-api-{expert}", id=f"n/{port}", node="n", address="10.0.0.1", port=port)
        )

    def connect(self, endpoint: Endpoint) -> LlmClient:
        expert = endpoint.service.removeprefix("llama-api-")
        self.connected.append(expert)
        return self.models[expert]

    async def ask(self, expert: str) -> str:
        return text_of(await collect(self.pool.client(expert), ChatRequest(messages=(COUNT,))))


async def test_an_expert_is_asked_by_its_name() -> None:
    house = House("main", "creative", own=Named("own"))
    assert isinstance(house.pool, ExpertClients)
    assert await house.ask("creative") == "I am creative"
    assert await house.ask("main") == "I am main"
    assert house.pool.client("creative") is house.pool.client("creative")


async def test_an_expert_that_comes_later_is_asked_from_then_on() -> None:
    house = House("main")
    assert await house.ask("creative") == "I am main"
    house.add("creative")
    assert await house.ask("creative") == "I am creative"


async def test_main_answers_for_an_expert_that_fails_and_this_machines_own_for_main() -> None:
    house = House("main", "creative", own=Named("own"))
    house.models["creative"].error = GONE
    assert await house.ask("creative") == "I am main"
    house.models["main"].error = GONE
    assert await house.ask("creative") == "I am own"
    assert await house.ask("main") == "I am own"


async def test_each_piece_says_by_whom_it_is_and_why_not_by_who_was_asked() -> None:
    house = House("main", "creative", own=Named("own"))
    house.models["creative"].error = GONE
    deltas = await collect(house.pool.client("creative"), ChatRequest(messages=(COUNT,)))
    assert {(delta.source, delta.fallback_reason) for delta in deltas} == {("main", "nobody is there")}
    deltas = await collect(house.pool.client("main"), ChatRequest(messages=(COUNT,)))
    assert {(delta.source, delta.fallback_reason) for delta in deltas} == {("main", "")}


async def test_an_own_model_that_is_main_is_not_looked_for_in_the_directory() -> None:
    house = House("main", "creative", own=Named("own"), uses_only_own_llm=True)
    assert await house.ask("main") == "I am own"
    assert house.pool.client("main").name == "own"
    assert await house.ask("creative") == "I am creative"
    house.models["creative"].error = GONE
    assert await house.ask("creative") == "I am own"


async def test_experts_share_the_connection_to_an_address_and_its_failures() -> None:
    house = House("main")
    for expert in ("main", "creative", "coding"):
        await house.ask(expert)
    assert house.connected == ["main"]


async def test_two_experts_at_one_address_are_asked_each_by_its_own_name() -> None:
    house = House("main", "creative", own=Named("own"))
    house.models["poetry"] = Named("poetry")
    house.directory.put(
        Endpoint(service="llama-api-poetry", id="n/poetry", node="n", address="10.0.0.1", port=1002)
    )
    for expert in ("creative", "poetry", "creative"):
        deltas = await collect(house.pool.client(expert), ChatRequest(messages=(COUNT,)))
        assert {delta.source for delta in deltas} == {expert}


async def test_an_expert_elsewhere_that_fails_is_answered_for_by_the_house() -> None:
    house = House("main", own=Named("own"))
    house.models["oracle"] = Named("oracle")
    house.directory.put(
        ExternalExpert(name="oracle", base_url="https://api.example.com/v1", model="large").endpoint
    )
    assert await house.ask("oracle") == "I am oracle"
    house.models["oracle"].error = GONE
    deltas = await collect(house.pool.client("oracle"), ChatRequest(messages=(COUNT,)))
    assert {(delta.source, delta.fallback_reason) for delta in deltas} == {("main", "nobody is there")}
    house.models["main"].error = GONE
    assert await house.ask("main") == "I am own", "whoever is not asked for elsewhere stays in the house"
    assert len(house.models["oracle"].requests) == 2, "its breaker is open, and main never goes elsewhere"


async def test_the_pool_closes_every_connection_and_this_machines_own_model() -> None:
    own = Named("own")
    house = House("main", "creative", own=own)
    await house.ask("main")
    await house.ask("creative")
    await house.pool.close()
    assert [model.is_closed for model in (*house.models.values(), own)] == [True, True, True]
