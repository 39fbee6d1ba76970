"""The shipped workflow's ways, each with scripted engines behind it.

It owns the claims about which way a turn goes; whether the real small model follows is tested end to end.
"""

from __future__ import annotations

import asyncio

import pytest

from pipecatapp.errors import AdapterError
from pipecatapp.ports import Expert, Fact, Message, ToolResult, ToolSpec
from pipecatapp.settings import Settings
from pipecatapp.workflow.loader import load_workflow
from pipecatapp.workflow.runner import WorkflowRunner
from pipecatapp.workflow.services import RunContext
from testing.fakes.fake_experts import FakeExperts
from testing.fakes.fake_llm import FakeLlm
from testing.fakes.fake_memory import FakeMemory
from testing.fakes.fake_toolbox import FakeTool, FakeToolBox
from testing.unit.workflow.conftest import Bench, services_of

pytestmark = pytest.mark.unit

TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
LOOK_UP = ToolSpec(
    name="look_up", description="Look something up.", parameters=TEXT, examples=("Look up the postcode",)
)
ENDING = ToolSpec(
    name="final_answer", description="Answer and end the turn.", parameters=TEXT, examples=("Hello there",)
)
LOAD = load_workflow(Settings.model_fields["workflows_dir"].default / "default_agent_loop.yaml")


def bench_of(
    llm: FakeLlm,
    *tools: FakeTool,
    memory: FakeMemory | None = None,
    experts: FakeExperts | None = None,
    confirmed: bool = True,
) -> Bench:
    ending = FakeTool(
        ENDING, lambda given: ToolResult(True, given["text"], speech=given["text"], is_final=True)
    )
    context = RunContext("session-1", "turn-1", asyncio.Event())
    if confirmed:
        context.confirmed.set()
    services = services_of(llm, FakeToolBox(ending, *tools), memory, experts)
    return Bench(WorkflowRunner(LOAD, services), context)


async def test_talk_goes_to_the_model_with_history_before_what_changes() -> None:
    llm = FakeLlm(["The answer."])
    history = (Message("user", "Hi"), Message("assistant", "Hello."))

    outcome = await bench_of(llm).run(user_text="Tell me a joke about winter", history=history)

    messages = llm.requests[0].messages
    assert outcome.finished.text == "The answer."
    assert messages[0].role == "system"
    assert messages[-3:-1] == history
    assert messages[-1].content.splitlines()[0] == "Tell me a joke about winter"
    assert "Today is" in messages[-1].content
    assert not any("Today is" in message.content for message in messages[:-1])


async def test_the_prompt_of_a_turn_begins_like_the_one_before() -> None:
    llm = FakeLlm(["First.", "Second."])
    bench = bench_of(llm)

    await bench.run(user_text="Why is the sky blue?", history=())
    history = (Message("user", "Why is the sky blue?"), Message("assistant", "First."))
    await bench.run(user_text="Who painted it?", history=history)

    before, after = (request.messages for request in llm.requests)
    assert after[: len(before)] == before


async def test_a_sure_tool_answers_without_the_model() -> None:
    llm = FakeLlm()
    tool = FakeTool(LOOK_UP, ToolResult(True, "1010", speech="It is 1010."), lambda _: {"text": "Vienna"})

    outcome = await bench_of(llm, tool).run(user_text="Look up the postcode of Vienna", history=())

    assert outcome.finished.text == "It is 1010."
    assert llm.requests == []
    assert outcome.raised == ["tool_started", "tool_finished"]


async def test_the_model_fills_arguments_in_bound_to_the_tools_schema() -> None:
    llm = FakeLlm(['{"name": "look_up", "arguments": {"text": "Vienna"}}'])
    tool = FakeTool(LOOK_UP, ToolResult(True, "1010", speech="It is 1010."))

    outcome = await bench_of(llm, tool).run(user_text="Look up the postcode", history=())

    schema = llm.requests[0].json_schema
    assert schema is not None
    assert schema["properties"]["name"] == {"const": "look_up"}
    assert schema["properties"]["arguments"]["properties"]["text"]["maxLength"] == 200
    assert outcome.finished.tool_calls[0]["arguments"] == {"text": "Vienna"}


async def test_a_result_without_a_sentence_is_phrased_by_the_model() -> None:
    llm = FakeLlm(["The postcode is 1010."])
    tool = FakeTool(LOOK_UP, ToolResult(True, "1010"), lambda _: {"text": "Vienna"})

    outcome = await bench_of(llm, tool).run(user_text="Look up the postcode", history=())

    assert outcome.finished.text == "The postcode is 1010."
    assert "The result is: 1010" in llm.requests[0].messages[-1].content


async def test_after_a_failed_call_the_model_may_end_the_turn() -> None:
    llm = FakeLlm(['{"name": "final_answer", "arguments": {"text": "I cannot look that up."}}'])
    tool = FakeTool(LOOK_UP, ToolResult(False, "no such place"), lambda _: {"text": "?"})

    outcome = await bench_of(llm, tool).run(user_text="Look up the postcode", history=())

    schema = llm.requests[0].json_schema
    assert schema is not None
    assert [each["properties"]["name"]["const"] for each in schema["anyOf"]] == ["look_up", "final_answer"]
    assert outcome.finished.text == "I cannot look that up."
    assert [call["ok"] for call in outcome.finished.tool_calls] == [False, True]


async def test_three_failed_calls_are_enough() -> None:
    llm = FakeLlm(['{"name": "look_up", "arguments": {"text": "x"}}'])
    tool = FakeTool(LOOK_UP, ToolResult(False, "no such place"))

    outcome = await bench_of(llm, tool).run(user_text="Look up the postcode", history=())

    assert len(outcome.finished.tool_calls) == 3
    assert outcome.finished.text == "Sorry, that did not work."


async def test_a_fact_that_is_the_answer_is_said_as_it_stands() -> None:
    memory = FakeMemory()
    await memory.add_fact("My dog is called Biscuit.")
    llm = FakeLlm()

    outcome = await bench_of(llm, memory=memory).run(user_text="What is my dog called?", history=())

    assert outcome.finished.text == "Your dog is called Biscuit."
    assert outcome.raised == ["memory_recalled"]
    assert llm.requests == []


class AwayMemory(FakeMemory):
    """A memory that cannot be reached."""

    async def search(self, query: str, *, limit: int) -> list[Fact]:
        raise AdapterError("memory-away", "The memory service does not answer.", retryable=True)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("Why is the sky blue?", "Because of the air."),
        ("What is my dog called?", "I cannot reach my memory just now."),
        ("What do you know about me?", "I cannot reach my memory just now."),
    ],
)
async def test_a_turn_goes_on_while_the_memory_is_away(said: str, answer: str) -> None:
    outcome = await bench_of(FakeLlm(["Because of the air."]), memory=AwayMemory()).run(
        user_text=said, history=()
    )
    assert outcome.finished.text == answer


async def test_a_fact_that_only_touches_the_question_reaches_the_model_beside_it() -> None:
    memory = FakeMemory()
    await memory.add_fact("My dog is called Biscuit.")
    llm = FakeLlm(["Take Biscuit to the lake."])

    outcome = await bench_of(llm, memory=memory).run(
        user_text="Can my dog called Biscuit swim in the lake?", history=()
    )

    assert "(Facts: Your dog is called Biscuit.)" in llm.requests[0].messages[-1].content
    assert outcome.raised == ["memory_recalled"]


async def test_an_unknown_fact_is_not_asked_of_the_model() -> None:
    llm = FakeLlm()

    outcome = await bench_of(llm).run(user_text="What is my name?", history=())

    assert outcome.finished.text == "I do not know that yet. Tell me, and I will remember it."
    assert llm.requests == []


async def test_a_withdrawn_turn_leaves_no_fact() -> None:
    memory = FakeMemory()
    bench = bench_of(FakeLlm(), memory=memory, confirmed=False)
    events = bench.runner.run({"user_text": "Remember that I have two cats.", "history": ()}, bench.context)

    first = await anext(events)
    await events.aclose()

    assert first.text == "I will remember that. You have two cats."  # type: ignore[union-attr]
    assert await memory.list_facts() == []


async def test_without_embeddings_the_model_still_answers() -> None:
    bench = bench_of(FakeLlm(["Still here."]))
    bench.runner._services.embedder.error = AdapterError("engine-failed", "no embeddings")  # type: ignore[attr-defined]

    outcome = await bench.run(user_text="Why is the sky blue?", history=())

    assert outcome.finished.text == "Still here."


def house_of(main: FakeLlm, poet: FakeLlm) -> FakeExperts:
    return FakeExperts(
        Expert("main", examples=("What is the capital of France?", "Good morning, how are you?")),
        Expert("creative", examples=("Write a poem about the sea", "Tell me a story about a dragon")),
        main=main,
        clients={"creative": poet},
    )


@pytest.mark.parametrize(
    "said", ["Write a poem about the sea at night", "Ask the creative expert what love is"]
)
async def test_talk_goes_to_the_expert_that_is_good_at_it(said: str) -> None:
    main, poet = FakeLlm(["From main."]), FakeLlm(["From the poet."])

    outcome = await bench_of(main, experts=house_of(main, poet)).run(user_text=said, history=())

    assert outcome.finished.text == "From the poet."
    assert outcome.raised[0] == "expert_chosen"
    assert main.requests == []


async def test_small_talk_tools_and_questions_about_the_user_stay_with_main() -> None:
    main, poet = FakeLlm(["From main."]), FakeLlm(["From the poet."])
    memory = FakeMemory()
    await memory.add_fact("My dog likes long walks by the sea.")
    tool = FakeTool(LOOK_UP, ToolResult(True, "1010", speech="It is 1010."), _if_postcode)
    bench = bench_of(main, tool, memory=memory, experts=house_of(main, poet))

    said = ("Good morning, how are you today?", "Look up the postcode of Vienna", "What is my name?")
    texts = [(await bench.run(user_text=each, history=())).finished.text for each in said]

    assert texts[:2] == ["From main.", "It is 1010."]
    assert poet.requests == []


def _if_postcode(text: str) -> dict[str, str] | None:
    return {"text": text} if "postcode" in text else None


async def test_who_asks_for_an_expert_by_name_gets_it_and_no_tool() -> None:
    main, poet = FakeLlm(["From main."]), FakeLlm(["From the poet."])
    tool = FakeTool(LOOK_UP, ToolResult(True, "1010", speech="It is 1010."), _if_postcode)
    bench = bench_of(main, tool, experts=house_of(main, poet))

    outcome = await bench.run(user_text="Ask the creative expert to praise my postcode", history=())

    assert outcome.finished.text == "From the poet."


async def test_with_main_alone_nothing_is_compared() -> None:
    house = FakeExperts(Expert("main", examples=("What do turtles eat?",)))
    bench = bench_of(FakeLlm(["The answer."]), experts=house)
    await bench.runner.warm()

    outcome = await bench.run(user_text="Tell me a joke about winter", history=())

    assert "What do turtles eat?" not in bench.runner._services.embedder.texts  # type: ignore[attr-defined]
    assert "expert_chosen" not in outcome.raised
    house.put(Expert("creative", examples=("Tell me a story",)))
    await bench.runner.warm()
    assert "What do turtles eat?" in bench.runner._services.embedder.texts  # type: ignore[attr-defined]


async def test_an_expert_that_comes_later_is_asked_without_another_start() -> None:
    main, poet = FakeLlm(["From main."]), FakeLlm(["From the poet."])
    house = FakeExperts(main=main)
    bench = bench_of(main, experts=house)
    said = "Write a poem about the sea"

    before = await bench.run(user_text=said, history=())
    house.put(Expert("creative", examples=("Write a poem", "Tell me a story about the sea")), poet)
    after = await bench.run(user_text=said, history=())
    house.put(Expert("creative", examples=("Write a poem", "Tell me a story about the sea"), is_up=False))
    gone = await bench.run(user_text=said, history=())

    assert [each.finished.text for each in (before, after, gone)] == [
        "From main.",
        "From the poet.",
        "From main.",
    ]
