"""Which endpoint of an expert is asked, when the next one is, and that this machine's own model is last."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace

import pytest

from pipecatapp.errors import AdapterError
from pipecatapp.experts.circuit_breaker import OPEN_S
from pipecatapp.experts.expert_llm import ExpertLlm
from pipecatapp.experts.pool import ExpertPool
from pipecatapp.experts.service_names import MEMORY_SERVICE, expert_names, healthy_or_all
from pipecatapp.ports import ChatRequest, Endpoint, LlmClient
from testing.conformance.llm_suite import COUNT, LlmSuite, collect, text_of
from testing.fakes.fake_clock import FakeClock
from testing.fakes.fake_directory import FakeDirectory
from testing.fakes.fake_llm import FakeLlm

pytestmark = pytest.mark.unit

REQUEST = ChatRequest(messages=(COUNT,), slot=1)
GONE = AdapterError("llm-unreachable", "nobody is there", retryable=True)


def main(port: int, passing: bool = True) -> Endpoint:
    return Endpoint(
        service="llama-api-main", id=f"n/{port}", node="n", address="10.0.0.1", port=port, passing=passing
    )


class House:
    """Experts by port, their directory, and how often a connection was made."""

    def __init__(self, *ports: int, own: FakeLlm | None = None) -> None:
        self.clock = FakeClock()
        self.directory = FakeDirectory(*(main(port) for port in ports))
        self.models = {port: FakeLlm((f"expert {port}",)) for port in ports}
        self.connected: list[int] = []
        self.pool = ExpertPool(self.directory, self.connect, self.clock, own=own)
        self.llm = self.pool.client("main")

    def connect(self, endpoint: Endpoint) -> LlmClient:
        self.connected.append(endpoint.port)
        return self.models[endpoint.port]

    async def ask(self) -> str:
        return text_of(await collect(self.llm, REQUEST))


class TestAsAClient(LlmSuite):
    @pytest.fixture
    def llm(self) -> ExpertLlm:
        house = House(1)
        house.models[1] = FakeLlm(("one two three four five six seven eight nine ten",))
        return house.llm


async def test_the_expert_is_preferred_to_this_machines_own() -> None:
    own = FakeLlm(("own",))
    assert await House(1, own=own).ask() == "expert 1"
    assert own.requests == []


async def test_a_foreign_experts_prompt_cache_is_not_numbered_by_us() -> None:
    own = FakeLlm(("own",))
    house = House(1, own=own)
    await house.ask()
    house.directory.remove("n/1")
    await house.ask()
    assert [request.slot for request in house.models[1].requests] == [-1]
    assert [request.slot for request in own.requests] == [1]


async def test_the_same_endpoint_is_asked_while_it_answers() -> None:
    house = House(1, 2, 3)
    assert len({await house.ask() for _ in range(9)}) == 1
    assert len(house.connected) == 1


async def test_what_is_read_ahead_is_asked() -> None:
    house = House(1, 2, 3)
    await house.llm.prefill(REQUEST)
    answer = await house.ask()
    assert [port for port, model in house.models.items() if model.prefills] == [int(answer.split()[1])]


async def test_an_endpoint_that_does_not_answer_is_replaced_and_then_avoided() -> None:
    house = House(1, 2)
    first = await house.ask()
    failing = house.models[int(first.split()[1])]
    failing.error = GONE
    second = await house.ask()
    assert {first, second} == {"expert 1", "expert 2"}
    tried = len(failing.requests)
    assert await house.ask() == second
    assert len(failing.requests) == tried, "it is asked last for a while"
    failing.error = None
    house.clock.advance(OPEN_S + 1)
    assert await house.ask() == first


async def test_without_an_expert_that_answers_this_machines_own_does() -> None:
    house = House(1, own=FakeLlm(("own",)))
    house.models[1].error = GONE
    assert await house.ask() == "own"


async def test_an_expert_that_comes_is_asked_and_one_that_goes_is_not() -> None:
    house = House(own=FakeLlm(("own",)))
    house.models[7] = FakeLlm(("expert 7",))
    assert await house.ask() == "own"
    house.directory.put(main(7))
    assert await house.ask() == "expert 7"
    house.directory.put(main(7, passing=False))
    assert await house.ask() == "own"
    house.directory.put(main(7))
    house.directory.go_away()
    assert await house.ask() == "expert 7", "what was known is still used"


async def test_connections_to_what_is_gone_are_closed() -> None:
    house = House(1)
    await house.ask()
    house.directory.remove("n/1")
    house.models[2] = FakeLlm(("expert 2",))
    house.directory.put(main(2))
    await house.ask()
    assert (house.models[1].is_closed, house.models[2].is_closed) == (True, False)


async def test_an_answer_under_way_keeps_its_connection() -> None:
    house = House(1)
    house.models[1] = FakeLlm(("one two three",))
    async with aclosing(house.llm.stream(REQUEST)) as stream:
        await anext(stream)
        house.directory.remove("n/1")
        house.models[2] = FakeLlm(("expert 2",))
        house.directory.put(main(2))
        await house.ask()
        assert not house.models[1].is_closed
        assert "".join([delta.text async for delta in stream]) == " two three"


async def test_a_request_that_nobody_would_take_is_refused_once() -> None:
    house = House(1, own=FakeLlm(("own",)))
    wrong = replace(REQUEST, json_schema={"type": "object"}, grammar='root ::= "x"')
    with pytest.raises(AdapterError, match="not both"):
        await collect(house.llm, wrong)


async def test_nobody_to_ask_is_said_in_words() -> None:
    with pytest.raises(AdapterError, match="knows no llama-api-main") as failure:
        await House().ask()
    assert (failure.value.code, failure.value.retryable) == ("no-expert", True)


async def test_all_that_fail_are_told_by_the_last() -> None:
    house = House(1, 2)
    for model in house.models.values():
        model.error = GONE
    with pytest.raises(AdapterError, match="nobody is there"):
        await house.ask()


async def test_it_is_up_while_an_endpoint_passes() -> None:
    house = House(own=FakeLlm())
    assert (house.llm.is_up(), house.llm.name) == (False, "fake model")
    house.directory.put(main(1))
    assert (house.llm.is_up(), house.llm.name) == (True, "expert main")


async def test_closing_closes_everybody() -> None:
    own = FakeLlm()
    house = House(1, own=own)
    await house.ask()
    await house.pool.close()
    assert (own.is_closed, house.models[1].is_closed) == (True, True)


def test_experts_are_those_with_the_prefix_and_main_comes_first() -> None:
    directory = FakeDirectory(
        Endpoint(service="llama-api-coding", id="a", node="n", address="h", port=1),
        Endpoint(service="llama-api-main", id="b", node="n", address="h", port=2),
        Endpoint(service="rpc-provider", id="c", node="n", address="h", port=3, tags=("pool=main",)),
    )
    assert expert_names(directory) == ("main", "coding")


def test_a_service_whose_checks_all_fail_is_asked_all_the_same() -> None:
    ill = Endpoint(service=MEMORY_SERVICE, id="a", node="n", address="h", port=1, passing=False)
    well = Endpoint(service=MEMORY_SERVICE, id="b", node="n", address="h", port=2)
    assert healthy_or_all(FakeDirectory(ill), MEMORY_SERVICE) == (ill,)
    assert healthy_or_all(FakeDirectory(ill, well), MEMORY_SERVICE) == (well,)
