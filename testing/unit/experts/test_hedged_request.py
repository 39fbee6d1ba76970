"""Who is asked, who else when that one is slow, and who goes on when it dies; in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import pytest

from pipecatapp.errors import AdapterError
from pipecatapp.experts.backend_pool import ENOUGH_SEEN, OVERLOAD
from pipecatapp.experts.hedged_request import HedgingPolicy
from pipecatapp.experts.pool import ExpertPool
from pipecatapp.ports import ChatDelta, ChatRequest, Endpoint, LlmClient, Message
from testing.conformance.llm_suite import COUNT, collect, text_of
from testing.fakes.fake_directory import FakeDirectory
from testing.fakes.fake_llm import BreaksOff, FakeLlm
from testing.virtual_time import LoopClock, virtual_time

pytestmark = pytest.mark.unit

REQUEST = ChatRequest(messages=(COUNT,))
WHOLE = "one two three four five six"
GONE = AdapterError("llm-unreachable", "nobody is there", retryable=True)
POLICY = HedgingPolicy()


class Model(FakeLlm):
    """An expert that waits before each word, or falls silent after some, and notes how it was asked."""

    def __init__(
        self,
        name: str,
        text: str = WHOLE,
        *,
        first_s: float = 0.1,
        word_s: float = 0.0,
        silent_after: int = -1,
        silence_s: float = 3600,
    ) -> None:
        super().__init__((text,), token_delay_s=word_s)
        self._called = name
        self.first_s = first_s
        self.silent_after = silent_after
        self.silence_s = silence_s
        self.running = 0

    @property
    def name(self) -> str:
        return self._called

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatDelta]:
        self.running += 1
        try:
            if self.error is None:
                await asyncio.sleep(self.first_s)
            said = 0
            async with aclosing(super().stream(request)) as deltas:  # type: ignore[type-var]
                async for delta in deltas:
                    if said == self.silent_after:
                        await asyncio.sleep(self.silence_s)
                    said += 1
                    yield delta
        finally:
            self.running -= 1


class House:
    """Instances of experts, a port each, and a pool that follows their directory."""

    def __init__(self, *models: Model, own: Model | None = None, expert: str = "main") -> None:
        self.directory = FakeDirectory()
        self.models: dict[str, Model] = {}
        self.expert = expert
        self.pool = ExpertPool(self.directory, self.connect, LoopClock(), own=own)
        for model in models:
            self.add(model)

    def add(self, model: Model, expert: str = "") -> None:
        port = 1000 + len(self.models)
        endpoint = Endpoint(
            service=f"llama-api-{expert or self.expert}",
            id=model.name,
            node="n",
            address="10.0.0.1",
            port=port,
        )
        self.models[endpoint.url] = model
        self.directory.put(endpoint)

    def connect(self, endpoint: Endpoint) -> LlmClient:
        return self.models[endpoint.url]

    async def deltas(self, request: ChatRequest = REQUEST) -> list[ChatDelta]:
        return await collect(self.pool.client(self.expert), request)

    async def order(self, session: str = "") -> list[Model]:
        """Return the models in the order in which they would be asked."""
        backends = self.pool.backends.candidates(f"llama-api-{self.expert}", session)
        return [self.models[backend.endpoint.url] for backend in backends]


def three() -> list[Model]:
    return [Model("a"), Model("b"), Model("c")]


def now_s() -> float:
    return asyncio.get_running_loop().time()


def asked(*models: Model) -> list[int]:
    return [len(model.requests) for model in models]


@virtual_time
async def test_a_second_instance_is_asked_when_the_first_is_silent_and_the_first_is_stopped() -> None:
    house = House(*three())
    slow, quick, idle = await house.order()
    slow.first_s = 3600
    deltas = await house.deltas()
    assert text_of(deltas) == WHOLE
    assert now_s() == pytest.approx(POLICY.first_hedge_s + 0.1)
    assert {delta.source for delta in deltas} == {quick.name}
    assert f"{slow.name} was silent for 2.1 s" in deltas[0].fallback_reason
    assert (slow.running, asked(quick, idle)) == (0, [1, 0])


@virtual_time
async def test_who_was_asked_first_wins_when_it_speaks_first_and_the_hedge_is_stopped() -> None:
    house = House(*three())
    first, hedge, _ = await house.order()
    first.first_s, hedge.first_s = POLICY.first_hedge_s + 0.5, 3600
    deltas = await house.deltas()
    assert {(delta.source, delta.fallback_reason) for delta in deltas} == {(first.name, "")}
    assert (text_of(deltas), hedge.running) == (WHOLE, 0)
    assert now_s() == pytest.approx(POLICY.first_hedge_s + 0.5)


@virtual_time
async def test_no_more_than_two_are_asked_at_a_time_and_our_own_model_speaks_within_its_time() -> None:
    own = Model("own")
    house = House(*three(), own=own)
    for model in house.models.values():
        model.first_s = 3600
    _, _, third = await house.order()
    deltas = await house.deltas()
    assert ({delta.source for delta in deltas}, third.running) == ({"own"}, 0)
    assert asked(third) == [0]
    assert now_s() == pytest.approx(POLICY.cluster_timeout_s + 0.1)


@virtual_time
async def test_a_hedge_that_fails_is_replaced() -> None:
    house = House(*three())
    slow, dead, third = await house.order()
    slow.first_s, dead.error = 3600, GONE
    deltas = await house.deltas()
    assert {delta.source for delta in deltas} == {third.name}
    assert now_s() == pytest.approx(POLICY.first_hedge_s + 0.1)


@virtual_time
async def test_when_to_hedge_is_drawn_from_what_was_seen() -> None:
    house = House(*three())
    for model in house.models.values():
        model.first_s = 0.7
    for _ in range(ENOUGH_SEEN):
        await house.deltas()
    slow, *_ = await house.order()
    slow.first_s = 3600
    began_s = now_s()
    await house.deltas()
    assert now_s() - began_s == pytest.approx(0.7 + 0.7)


@virtual_time
async def test_another_model_is_given_less_often_the_word_than_another_instance() -> None:
    slow = Model("a", first_s=3600)
    house = House(slow, own=Model("own"))
    deltas = await house.deltas()
    assert {delta.source for delta in deltas} == {"own"}
    assert now_s() == pytest.approx(POLICY.other_model_s + 0.1)


@virtual_time
async def test_who_loses_two_races_is_not_asked_for_a_while() -> None:
    house = House(*three())
    slow, quick, _ = await house.order()
    slow.first_s = 3600
    waits_s = []
    for _ in range(3):
        began_s = now_s()
        await house.deltas()
        waits_s.append(round(now_s() - began_s, 1))
    assert waits_s == [2.1, 2.1, 0.1]
    assert slow not in await house.order()
    assert quick in await house.order()


@virtual_time
async def test_a_conversation_stays_with_its_instance_and_conversations_spread() -> None:
    house = House(*three())
    homes = {f"session {number}": (await house.order(f"session {number}"))[0] for number in range(60)}
    for session, home in homes.items():
        deltas = await house.deltas(replace(REQUEST, session=session))
        assert {delta.source for delta in deltas} == {home.name}
    counts = [list(homes.values()).count(model) for model in house.models.values()]
    assert min(counts) > 8, counts


@virtual_time
async def test_what_is_read_ahead_is_read_where_the_conversation_is_answered() -> None:
    house = House(*three())
    for number in range(9):
        request = replace(REQUEST, session=f"session {number}")
        await house.pool.client("main").prefill(request)
        await house.deltas(request)
    for model in house.models.values():
        assert [r.session for r in model.prefills] == [r.session for r in model.requests]


@virtual_time
async def test_only_the_conversations_of_an_instance_that_goes_move() -> None:
    house = House(*three())
    sessions = [f"session {number}" for number in range(60)]
    before = {session: (await house.order(session))[0] for session in sessions}
    gone = house.models["http://10.0.0.1:1001"]
    house.directory.remove(gone.name)
    after = {session: (await house.order(session))[0] for session in sessions}
    assert all(after[session] is home for session, home in before.items() if home is not gone)
    assert {home.name for session, home in after.items() if before[session] is gone} == {"a", "c"}


@virtual_time
async def test_a_conversation_leaves_an_overloaded_instance() -> None:
    house = House(*three())
    home, other, _ = await house.order("s")
    request = replace(REQUEST, session="s")
    streams = [house.pool.client("main").stream(request) for _ in range(OVERLOAD + 1)]
    for stream in streams:
        await anext(stream)
    assert asked(home, other) == [OVERLOAD, 1]
    for stream in streams:
        await stream.aclose()
    assert (await house.order("s"))[0] is home, "it comes back when the rush is over"


@virtual_time
async def test_without_a_conversation_the_least_busy_instance_is_asked() -> None:
    house = House(*three())
    answers = await asyncio.gather(*(house.deltas() for _ in range(6)))
    assert [text_of(answer) for answer in answers] == [WHOLE] * 6
    assert asked(*house.models.values()) == [2, 2, 2]


@virtual_time
async def test_another_goes_on_from_the_words_that_were_said() -> None:
    house = House(*three())
    dying, heir, _ = await house.order()
    dying._replies = (BreaksOff("one two three"),)
    deltas = await house.deltas(replace(REQUEST, max_tokens=20))
    assert text_of(deltas) == WHOLE
    assert [delta.source for delta in deltas] == [dying.name] * 3 + [heir.name] * 4
    assert "broke off" in deltas[-1].fallback_reason
    assert heir.requests[0].messages == (COUNT, Message("assistant", "one two three"))
    assert heir.requests[0].max_tokens == 17, "what was said counts"
    assert deltas[-1].completion_tokens == 6


@virtual_time
async def test_a_space_that_was_said_is_not_said_again() -> None:
    house = House(*three())
    dying, heir, _ = await house.order()
    dying._replies = ("one two three ",)
    dying.silent_after = 3
    heir._replies = ("one two three four five six",)
    assert text_of(await house.deltas()) == WHOLE
    assert heir.requests[0].messages[-1].content == "one two three"


@virtual_time
async def test_who_falls_silent_in_the_middle_is_replaced() -> None:
    house = House(*three())
    hung, heir, _ = await house.order()
    hung.silent_after = 2
    deltas = await house.deltas()
    assert (text_of(deltas), hung.running) == (WHOLE, 0)
    assert {delta.source for delta in deltas[2:]} == {heir.name}
    assert now_s() == pytest.approx(POLICY.stall_s + 0.2)
    assert hung not in await house.order()


@virtual_time
async def test_our_own_model_goes_on_when_everybody_died() -> None:
    own = Model("own")
    house = House(*three(), own=own)
    first, second, third = await house.order()
    first._replies, second._replies = (BreaksOff("one"),), (BreaksOff("one two"),)
    third.error = GONE
    deltas = await house.deltas(replace(REQUEST, slot=1))
    assert (text_of(deltas), deltas[-1].source) == (WHOLE, "own")
    assert own.requests[0].messages[-1] == Message("assistant", "one two")
    assert (third.requests[0].slot, own.requests[0].slot) == (-1, 1)


@virtual_time
async def test_when_nobody_is_left_to_go_on_the_last_failure_is_told() -> None:
    house = House(Model("a", silent_after=2), own=Model("own", silent_after=0))
    said: list[str] = []
    with pytest.raises(AdapterError, match="own fell silent|own did not begin"):
        async with aclosing(house.pool.client("main").stream(REQUEST)) as stream:
            async for delta in stream:
                said.append(delta.text)
    assert "".join(said) == "one two"


@virtual_time
async def test_who_was_only_slow_goes_on_when_who_was_quicker_dies() -> None:
    house = House(Model("a"), Model("b"))
    slow, quick = await house.order()
    slow.first_s, quick.silent_after = POLICY.first_hedge_s + 1, 2
    deltas = await house.deltas()
    assert text_of(deltas) == WHOLE
    assert [delta.source for delta in deltas] == [quick.name] * 2 + [slow.name] * 5


@virtual_time
async def test_our_own_model_goes_on_although_it_lost_a_race() -> None:
    own = Model("own", first_s=3)
    house = House(Model("a", first_s=POLICY.other_model_s + 1, silent_after=2), own=own)
    deltas = await house.deltas()
    assert (text_of(deltas), [delta.source for delta in deltas]) == (WHOLE, ["a"] * 2 + ["own"] * 5)


@virtual_time
async def test_an_answer_at_its_bound_is_not_gone_on_with() -> None:
    house = House(*three())
    dying, heir, _ = await house.order()
    dying._replies = (BreaksOff("one two three"),)
    deltas = await house.deltas(replace(REQUEST, max_tokens=3))
    assert (text_of(deltas), deltas[-1].finish, deltas[-1].completion_tokens) == (
        "one two three",
        "length",
        3,
    )
    assert asked(heir) == [0]


@virtual_time
async def test_the_whole_chain_shares_one_deadline() -> None:
    house = House(*three())
    for model in house.models.values():
        model.first_s = 3600
    with pytest.raises(AdapterError, match="did not begin") as failure:
        await house.deltas(replace(REQUEST, deadline_s=5))
    assert (failure.value.code, now_s()) == ("llm-timeout", pytest.approx(5))
    assert [model.running for model in house.models.values()] == [0, 0, 0]


@virtual_time
async def test_a_short_deadline_leaves_our_own_model_its_part() -> None:
    house = House(*three(), own=Model("own"))
    for model in house.models.values():
        model.first_s = 3600
    deltas = await house.deltas(replace(REQUEST, deadline_s=5))
    assert {delta.source for delta in deltas} == {"own"}
    assert now_s() == pytest.approx(5 * POLICY.cluster_share + 0.1)


@virtual_time
async def test_a_patient_caller_waits_longer_for_the_expert_it_asked_for() -> None:
    house = House(Model("a", first_s=15), own=Model("own"))
    assert {delta.source for delta in await house.deltas()} == {"own"}
    patient = House(Model("a", first_s=15), own=Model("own"))
    deltas = await patient.deltas(replace(REQUEST, deadline_s=120))
    assert {(delta.source, delta.fallback_reason) for delta in deltas} == {("a", "")}


@virtual_time
async def test_an_answer_that_nobody_could_go_on_with_is_waited_for() -> None:
    house = House(own=Model("own", silent_after=2, silence_s=POLICY.stall_s * 3))
    assert text_of(await house.deltas()) == WHOLE


@virtual_time
async def test_the_time_of_the_house_runs_from_the_last_word() -> None:
    house = House(*three(), own=Model("own"))
    first, second, third = await house.order()
    first.silent_after, second.first_s, third.first_s = 2, 3600, 3600
    deltas = await house.deltas()
    assert (text_of(deltas), deltas[-1].source) == (WHOLE, "own")
    assert now_s() == pytest.approx(0.1 + POLICY.cluster_timeout_s + 0.1), "a node waits 30 s without a word"


@virtual_time
async def test_a_long_answer_has_a_long_time() -> None:
    whole = " ".join(["word"] * 400)
    house = House(Model("a", whole, word_s=0.4))
    request = replace(REQUEST, max_tokens=500)
    assert text_of(await house.deltas(request)) == whole
    assert now_s() > POLICY.total_s


@virtual_time
async def test_the_deadline_ends_an_answer_in_the_middle() -> None:
    house = House(Model("a", silent_after=2), own=Model("own"))
    with pytest.raises(AdapterError, match="fell silent"):
        await house.deltas(replace(REQUEST, deadline_s=4))
    assert now_s() == pytest.approx(4)


@virtual_time
async def test_who_cannot_take_a_request_is_asked_the_next_one_all_the_same() -> None:
    own = Model("own")
    house = House(Model("a"), Model("b"), own=own)
    order = await house.order()
    for model in order:
        model.error = AdapterError("llm-refused", "refused (500): no picture")
    assert {delta.source for delta in await house.deltas()} == {"own"}
    assert asked(*order, own) == [1, 1, 1]
    assert await house.order() == order


@virtual_time
async def test_who_failed_lately_is_asked_when_there_is_nobody_else() -> None:
    house = House(Model("a"))
    (model,) = house.models.values()
    model.error = GONE
    with pytest.raises(AdapterError, match="nobody is there"):
        await house.deltas()
    model.error = None
    assert text_of(await house.deltas()) == WHOLE


@virtual_time
async def test_who_failed_lately_is_asked_after_our_own_model() -> None:
    own = Model("own")
    house = House(Model("a"), own=own)
    (model,) = house.models.values()
    model.error = GONE
    await house.deltas()
    deltas = await house.deltas()
    assert asked(model, own) == [1, 2]
    assert "no instance that answers" in deltas[0].fallback_reason
    own.error, model.error = GONE, None
    assert {delta.source for delta in await house.deltas()} == {"a"}


@virtual_time
async def test_a_house_without_main_needs_no_word_about_it_and_one_without_an_expert_does() -> None:
    house = House(own=Model("own"))
    assert (await house.deltas())[0].fallback_reason == ""
    house.expert = "creative"
    assert (await house.deltas())[0].fallback_reason == "llama-api-creative has no instance that answers"


@virtual_time
async def test_an_answer_that_is_closed_in_the_middle_stops_at_once() -> None:
    house = House(Model("a"))
    (model,) = house.models.values()
    stream = house.pool.client("main").stream(REQUEST)
    await anext(stream)
    assert model.running == 1
    await stream.aclose()
    assert (model.running, model.cancelled) == (0, 1)


@virtual_time
async def test_a_listener_that_goes_stops_everybody() -> None:
    house = House(*three())
    first, hedge, _ = await house.order()
    first.first_s = hedge.first_s = 3600
    task = asyncio.create_task(house.deltas())
    await asyncio.sleep(POLICY.first_hedge_s + 1)
    assert (first.running, hedge.running) == (1, 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (first.running, hedge.running) == (0, 0)
    assert len(await house.order()) == 3, "going away is nobody's fault"
