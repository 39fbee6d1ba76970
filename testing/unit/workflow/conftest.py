"""What the tests of the workflow engine share: files from texts, services from fakes.

It owns no claim.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

import pytest

from pipecatapp.ports import Experts, LlmClient, MemoryStore, ToolBox
from pipecatapp.understanding.example_classifier import ExampleClassifier
from pipecatapp.workflow.loader import load_workflow, shipped_prompts
from pipecatapp.workflow.run_events import EventRaised, RunEvent, RunFinished, TextPiece
from pipecatapp.workflow.runner import WorkflowRunner
from pipecatapp.workflow.services import NodeServices, RunContext
from testing.fakes.fake_clock import FakeClock
from testing.fakes.fake_embedder import FakeEmbedder
from testing.fakes.fake_experts import FakeExperts
from testing.fakes.fake_llm import FakeLlm
from testing.fakes.fake_memory import FakeMemory
from testing.fakes.fake_toolbox import FakeToolBox


@dataclass
class Outcome:
    """What one run yielded."""

    events: list[RunEvent] = field(default_factory=list)

    @property
    def pieces(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, TextPiece)]

    @property
    def raised(self) -> list[str]:
        return [event.event.kind for event in self.events if isinstance(event, EventRaised)]

    @property
    def finished(self) -> RunFinished:
        assert isinstance(self.events[-1], RunFinished)
        return self.events[-1]


@dataclass
class Bench:
    """A runner with fakes behind it."""

    runner: WorkflowRunner
    context: RunContext

    async def run(self, **inputs: object) -> Outcome:
        outcome = Outcome()
        async with aclosing(self.runner.run(inputs, self.context)) as events:
            async for event in events:
                outcome.events.append(event)
        return outcome


def services_of(
    llm: LlmClient | None = None,
    toolbox: ToolBox | None = None,
    memory: MemoryStore | None = None,
    experts: Experts | None = None,
) -> NodeServices:
    embedder = FakeEmbedder()
    main = llm or FakeLlm()
    return NodeServices(
        llm=main,
        experts=experts or FakeExperts(main=main),
        toolbox=toolbox or FakeToolBox(),
        memory=memory or FakeMemory(embedder),
        embedder=embedder,
        clock=FakeClock(),
        prompts=shipped_prompts(),
        classifier=ExampleClassifier(embedder),
    )


MakeBench = Callable[..., Bench]


@pytest.fixture
def bench(tmp_path: Path) -> MakeBench:
    """Return a function that makes a runner from a workflow's text and from fakes."""

    def make(
        text: str,
        *,
        llm: LlmClient | None = None,
        toolbox: ToolBox | None = None,
        memory: MemoryStore | None = None,
        experts: Experts | None = None,
        confirmed: bool = True,
    ) -> Bench:
        path = tmp_path / "under_test.yaml"
        path.write_text("name: under_test\n" + dedent(text))
        context = RunContext("session-1", "turn-1", asyncio.Event())
        if confirmed:
            context.confirmed.set()
        return Bench(WorkflowRunner(load_workflow(path), services_of(llm, toolbox, memory, experts)), context)

    return make
