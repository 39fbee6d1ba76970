"""The shipped workflow with the real small model, embeddings, memory and tools answers as promised.

It owns the claims about whole turns in writing; sound and the web are tested elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from pipecatapp.adapters.embed.minilm import MiniLmEmbedder
from pipecatapp.adapters.llm.openai_chat import OpenAiLlm
from pipecatapp.adapters.llm.server_process import LlmServerProcess, xllamacpp_command
from pipecatapp.adapters.memory.sqlite_faiss import SqliteFaissStore
from pipecatapp.app.clock import SystemClock
from pipecatapp.ports import Message
from pipecatapp.settings import Settings
from pipecatapp.tools.registry import LocalToolBox, ToolDependencies, shipped_tools
from pipecatapp.understanding.example_classifier import ExampleClassifier
from pipecatapp.workflow.loader import load_workflow, shipped_prompts
from pipecatapp.workflow.nodes.flow_nodes import ClassifyIntentNode
from pipecatapp.workflow.run_events import EventRaised, RunFinished, TextPiece
from pipecatapp.workflow.runner import WorkflowRunner
from pipecatapp.workflow.services import NodeServices, RunContext
from testing.e2e.engine_models import MINILM, QWEN, model
from testing.fakes.fake_experts import FakeExperts

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

FOLDER = Path(__file__).resolve().parents[2] / "pipecatapp"


@dataclass
class Talk:
    """One conversation with the workflow."""

    runner: WorkflowRunner
    services: NodeServices
    history: list[Message] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)

    async def say(self, text: str) -> RunFinished:
        """Run one confirmed turn and keep it in the history."""
        context = RunContext("session-1", "turn-1")
        context.confirmed.set()
        self.pieces, self.events = [], []
        inputs = {"user_text": text, "history": list(self.history)}
        async with aclosing(self.runner.run(inputs, context)) as events:
            async for event in events:
                if isinstance(event, TextPiece):
                    self.pieces.append(event.text)
                elif isinstance(event, EventRaised):
                    self.events.append(event.event.kind)
                elif isinstance(event, RunFinished):
                    self.history += [Message("user", text), Message("assistant", event.text)]
                    return event
        raise AssertionError("the run ended without a result")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def services(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NodeServices]:
    """The engines, once for the module; every test empties the memory."""
    async with AsyncExitStack() as stack:
        server = LlmServerProcess(xllamacpp_command(model(QWEN), threads=2, context=4096, slots=2))
        stack.push_async_callback(server.close)
        await server.start()
        llm = OpenAiLlm(server.base_url, "qwen", server.api_key)
        stack.push_async_callback(llm.close)
        embedder = await MiniLmEmbedder.load(model(MINILM))
        stack.push_async_callback(embedder.close)
        clock = SystemClock()
        memory = SqliteFaissStore(tmp_path_factory.mktemp("memory") / "memory.sqlite", embedder, clock)
        stack.push_async_callback(memory.close)
        toolbox = LocalToolBox(shipped_tools(ToolDependencies(system_clock=clock, search_dir=FOLDER)))
        experts = FakeExperts(main=llm)
        yield NodeServices(
            llm=llm,
            experts=experts,
            toolbox=toolbox,
            memory=memory,
            embedder=embedder,
            clock=clock,
            prompts=shipped_prompts(),
            classifier=ExampleClassifier(embedder),
        )


@pytest_asyncio.fixture(loop_scope="module")
async def talk(services: NodeServices) -> Talk:
    await services.memory.delete_all()
    workflow = load_workflow(Settings.model_fields["workflows_dir"].default / "default_agent_loop.yaml")
    runner = WorkflowRunner(workflow, services)
    await runner.warm()
    return Talk(runner, services)


async def test_a_product_is_computed(talk: Talk) -> None:
    answer = await talk.say("What is 17 times 23?")

    assert "391" in answer.text
    assert [call["name"] for call in answer.tool_calls] == ["code_runner"]


async def test_a_fact_is_kept_and_recalled_in_another_conversation(talk: Talk) -> None:
    told = await talk.say("My dog is called Biscuit.")
    kept = talk.events
    stranger = Talk(talk.runner, talk.services)
    asked = await stranger.say("What is my dog called?")

    assert "Biscuit" in told.text
    assert kept == ["memory_saved"]
    assert "Biscuit" in asked.text
    assert stranger.events == ["memory_recalled"]


@pytest.mark.parametrize(
    ("told", "asked", "word"),
    [
        ("My name is Alex.", "What is my name?", "Alex"),
        ("I live in the city of Vienna.", "Which city do I live in?", "Vienna"),
        ("My favorite color is green.", "What is my favorite color?", "green"),
        ("Remember that my keys are in the kitchen drawer", "where are my keys", "drawer"),
    ],
)
async def test_further_facts_are_kept_and_recalled(talk: Talk, told: str, asked: str, word: str) -> None:
    await talk.say("My dog is called Biscuit.")
    await talk.say(told)
    stranger = Talk(talk.runner, talk.services)

    answer = await stranger.say(asked)

    assert word.casefold() in answer.text.casefold()


async def test_what_was_never_said_is_not_made_up(talk: Talk) -> None:
    answer = await talk.say("What is my sister called?")

    assert "do not know" in answer.text


async def test_the_time_is_the_clocks(talk: Talk) -> None:
    before = time.localtime()
    answer = await talk.say("What time is it?")
    after = time.localtime()

    times = {f"{moment.tm_hour % 12 or 12}:{moment.tm_min:02d}" for moment in (before, after)}
    assert any(each in answer.text for each in times), answer.text
    assert [call["name"] for call in answer.tool_calls] == ["clock"]


async def test_the_model_fills_in_what_no_rule_can_read(talk: Talk) -> None:
    text = "Would you be so kind and let me know how late it is over in Tokyo"
    assert talk.services.toolbox.parse_arguments("clock", text) is None

    answer = await talk.say(text)

    assert [(call["name"], call["ok"]) for call in answer.tool_calls] == [("clock", True)]
    assert "Tokyo" in answer.text


async def test_small_talk_streams(talk: Talk) -> None:
    answer = await talk.say("Hello, how are you today?")

    assert len(talk.pieces) > 3
    assert "".join(talk.pieces) == answer.text
    assert answer.tool_calls == ()


async def test_knowledge_is_the_models(talk: Talk) -> None:
    assert "Paris" in (await talk.say("What is the capital of France?")).text


async def test_a_second_turn_builds_on_the_first(talk: Talk) -> None:
    await talk.say("What is the capital of Japan?")

    answer = await talk.say("And of Italy?")

    assert "Rome" in answer.text


ROUTES = {
    "Hello, how are you today?": "chat",
    "What is 17 times 23?": "code_runner",
    "how much is twenty percent of fifty": "code_runner",
    "What is two plus two?": "code_runner",
    "What time is it?": "clock",
    "what's the time in Paris": "clock",
    "What day is it today?": "clock",
    "I need to know how late it is": "clock",
    "Search the files for power agent": "search",
    "Which files mention the port 8000": "search",
    "Tell me a joke": "chat",
    "Why is the sky blue?": "chat",
    "What is my dog called?": "chat",
    "What is the capital of Japan?": "chat",
    "How many days are there in a week?": "chat",
    "I live in Berlin": "chat",
    "What do you know about me?": "known",
    "What can you do for me?": "about",
    "Please stop, that is enough for now.": "stop",
    "Thank you very much.": "chat",
    "What year did the second world war end?": "chat",
    "How long does it take to boil an egg?": "chat",
}


async def test_assorted_questions_go_where_they_should(talk: Talk) -> None:
    definition = next(node for node in talk.runner.workflow.nodes if node.id == "route")
    node = ClassifyIntentNode(definition)
    went, times_ms = {}, []
    for text in ROUTES:
        started_s = time.perf_counter()
        went[text] = (await node.decide(text, talk.services)).label
        times_ms.append((time.perf_counter() - started_s) * 1000)

    assert went == ROUTES
    assert sorted(times_ms)[len(times_ms) // 2] < 50, times_ms
