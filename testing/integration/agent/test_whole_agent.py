"""The agent over text with its shipped workflow, tools and memory; only the models are fakes."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from pipecatapp.adapters.memory.sqlite_faiss import SqliteFaissStore
from pipecatapp.adapters.memory.state_folder import StateFolder
from pipecatapp.agent import fallback_replies
from pipecatapp.agent.service import TwinService
from pipecatapp.errors import AdapterError
from pipecatapp.ports import ChatRequest
from pipecatapp.settings import Settings
from pipecatapp.tools.registry import LocalToolBox, ToolDependencies, shipped_tools
from pipecatapp.understanding.example_classifier import ExampleClassifier
from pipecatapp.workflow.loader import load_workflow, shipped_prompts
from pipecatapp.workflow.runner import WorkflowRunner
from pipecatapp.workflow.services import NodeServices
from testing.fakes.fake_clock import FakeClock
from testing.fakes.fake_embedder import FakeEmbedder
from testing.fakes.fake_experts import FakeExperts
from testing.fakes.fake_llm import FakeLlm

pytestmark = pytest.mark.integration


def read_from_prompt(request: ChatRequest) -> str:
    """Answer as a model would that only knows what its prompt says."""
    prompt = " ".join(message.content for message in request.messages)
    return "It is Biscuit." if "Biscuit" in prompt else "I do not know."


@asynccontextmanager
async def agent(folder: Path, llm: FakeLlm) -> AsyncIterator[TwinService]:
    """Bring up the agent over the memory in `folder`."""
    settings = Settings(data_dir=folder)  # type: ignore[call-arg]
    embedder, clock = FakeEmbedder(512), FakeClock()
    async with AsyncExitStack() as stack:
        store = SqliteFaissStore(folder / "memory.sqlite", embedder, clock)
        stack.push_async_callback(store.close)
        services = NodeServices(
            llm=llm,
            experts=FakeExperts(main=llm),
            toolbox=LocalToolBox(shipped_tools(ToolDependencies(system_clock=clock, search_dir=folder))),
            memory=store,
            embedder=embedder,
            clock=clock,
            prompts=shipped_prompts(),
            classifier=ExampleClassifier(embedder),
        )
        workflow = load_workflow(settings.workflows_dir / "default_agent_loop.yaml")
        service = TwinService(
            WorkflowRunner(workflow, services).run,
            store,
            clock,
            settings,
            StateFolder(settings.data_dir / "states"),
        )
        stack.push_async_callback(service.close)
        yield service


async def test_a_calculation_needs_no_model(tmp_path: Path) -> None:
    llm = FakeLlm(error=AdapterError("llm-unreachable", "no server"))
    async with agent(tmp_path, llm) as service:
        reply = await service.chat("", "What is 17 times 23?")
    assert reply.text == "17 times 23 is 391."
    assert [(call["name"], call["ok"]) for call in reply.tool_calls] == [("code_runner", True)]


async def test_a_fact_told_is_known_in_the_next_life(tmp_path: Path) -> None:
    async with agent(tmp_path, FakeLlm(read_from_prompt)) as service:
        await service.chat("", "Remember that my dog is called Biscuit.")
        facts = [fact.text for fact in await service.search_memory("")]
    async with agent(tmp_path, FakeLlm(read_from_prompt)) as service:
        session = await service.open()
        reply = await service.chat(session.id, "What is my dog called?")
        events = [session.bus.read(seq) for seq in range(1, session.bus.last_seq + 1)]
    assert len(facts) == 1 and "Biscuit" in facts[0]
    assert "Biscuit" in reply.text
    recalled = [event for event in events if event and event["kind"] == "memory_recalled"]
    assert len(recalled) == 1 and "Biscuit" in recalled[0]["facts"][0]


async def test_a_withdrawn_speculation_saves_no_fact(tmp_path: Path) -> None:
    async with agent(tmp_path, FakeLlm(read_from_prompt)) as service:
        session = await service.open()
        turn = session.begin_turn("Remember that my dog is called Biscuit.", "voice", speculative=True)
        reading = asyncio.create_task(anext(turn.deltas(), ""))
        await asyncio.sleep(0.2)
        await turn.discard()
        await asyncio.wait({reading})
        assert await service.search_memory("") == []
        assert session.bus.last_seq == 1, "only session_started"
        confirmed = session.begin_turn("Remember that my dog is called Biscuit.", "voice", speculative=True)
        confirmed.confirm()
        async for _ in confirmed.deltas():
            pass
        await confirmed.finish()
        assert len(await service.search_memory("")) == 1


async def test_without_a_model_it_apologises_and_works_again_when_it_is_back(tmp_path: Path) -> None:
    llm = FakeLlm(("Fine, thank you.",), error=AdapterError("llm-unreachable", "no server"))
    async with agent(tmp_path, llm) as service:
        session = await service.open()
        reply = await service.chat(session.id, "Hello, how are you today?")
        assert reply.text in (
            fallback_replies.PART_MISSING,
            fallback_replies.TOO_SLOW,
            fallback_replies.WENT_WRONG,
        )
        assert "error" in [
            event["kind"] for seq in range(1, session.bus.last_seq + 1) if (event := session.bus.read(seq))
        ]
        llm.error = None
        assert (await service.chat(session.id, "Hello, how are you today?")).text == "Fine, thank you."


async def test_two_hundred_visitors_leave_nothing_behind(tmp_path: Path) -> None:
    async with agent(tmp_path, FakeLlm(("Yes.",))) as service:
        await service.chat("", "Hello")  # opens files and starts threads that stay

        async def visit(number: int) -> None:
            session = await service.open()
            async with session.bus.subscribe() as events:
                turn = session.begin_turn(f"Hello {number}", "text")
                if number % 3 == 0:
                    await anext(turn.deltas(), "")
                    turn.interrupt()
                elif number % 3 == 1:
                    async for _ in turn.deltas():
                        pass
                    await turn.finish()
                await anext(events)
            await service.close_session(session.id)

        await visit(1)
        gc.collect()
        tasks, files = len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))
        for number in range(200):
            await visit(number)
        await asyncio.sleep(0)
        gc.collect()
        assert len(asyncio.all_tasks()) == tasks
        assert len(os.listdir("/proc/self/fd")) == files
        assert service.status()["sessions"] == 1
