"""Brings the agent up and down.

It owns the order in which parts are made, wired and closed; which engine stands behind a port is
`engines`', and who serves the parts is the command line's.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from pipecatapp import __version__
from pipecatapp.adapters.cpu import CpuInfo, read_cpu
from pipecatapp.agent.service import TwinService
from pipecatapp.app.clock import SystemClock
from pipecatapp.app.discovery import (
    Access,
    access_to,
    describe_experts,
    external_experts,
    follow_experts,
    memory_urls,
    open_directory,
    pick_experts,
)
from pipecatapp.app.engines import Closable, Picked, PickedLlm, pick_embedder, pick_stt, pick_tts
from pipecatapp.app.gateway import Engines, make_gateway, tool_prompts
from pipecatapp.app.health import Health, probes_of
from pipecatapp.app.lines import Lines
from pipecatapp.app.memory import AgentMemory, faiss_works, pick_memory
from pipecatapp.app.models import model_store
from pipecatapp.app.names import host_names
from pipecatapp.app.trials import EngineTrials
from pipecatapp.experts.book import ExpertBook
from pipecatapp.experts.pool import ExpertPool
from pipecatapp.experts.profiles import load_profiles
from pipecatapp.ports import Endpoint, ServiceDirectory
from pipecatapp.settings import Settings
from pipecatapp.supply.store import ModelStore
from pipecatapp.tools.registry import LocalToolBox, shipped_tools
from pipecatapp.voice.call import VoiceEngines
from pipecatapp.voice.gateway import WebRtcGateway
from pipecatapp.web.parts import Parts
from pipecatapp.workflow.loader import load_workflow, shipped_prompts
from pipecatapp.workflow.router import Router
from pipecatapp.workflow.runner import WorkflowRunner
from pipecatapp.workflow.services import NodeServices

log = logging.getLogger(__name__)

IDLE_SESSION_S = 3600.0
"""Sessions that nobody used for this long are closed (seconds); they are revived from the store."""
SWEEP_S = 300.0
"""Time between two looks for idle sessions (seconds)."""

T = TypeVar("T", bound=Closable)
Whys = dict[str, str]
"""Part to the sentence that says what was picked for it, and why."""


@dataclass(frozen=True, slots=True)
class Mind:
    """What a workflow needs, up, and what it was made from.

    Args:
        services: What nodes may use; the memory is among it.
        llm: The language model and, when there is one, its child server.
        experts: Every expert by name.
        access: How an instance of one is asked.
        directory: The services of the house.
        memory: The long-term memory and its saved states.
        store: This machine's models.
        cpu: This machine's processor.
        whys: What was picked, and why.
    """

    services: NodeServices
    llm: PickedLlm
    experts: ExpertPool
    access: Callable[[Endpoint], Access]
    directory: ServiceDirectory
    memory: AgentMemory
    store: ModelStore
    cpu: CpuInfo
    whys: Whys


@asynccontextmanager
async def thinking(settings: Settings) -> AsyncIterator[Mind]:
    """Bring up what a workflow needs: LLM, embeddings, memory and tools.

    Raises:
        AgentError: A part cannot be had; the message says which and what to do.
    """
    store, cpu, clock = model_store(settings), read_cpu(), SystemClock()
    well_known = load_profiles(settings.catalogue_dir)
    external = external_experts(settings)
    access = access_to(settings, external)
    async with AsyncExitStack() as stack:
        whys: Whys = {}
        directory = await open_directory(settings, clock, external)
        stack.push_async_callback(directory.close)
        llm, experts = await pick_experts(settings, store, cpu, directory, access, clock)
        stack.push_async_callback(llm.close)
        stack.push_async_callback(experts.close)
        embedder = await _keep(stack, whys, "embeddings", pick_embedder(settings, store, cpu))
        whys["llm"] = llm.why
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        uses_faiss = settings.memory == "remote" or await faiss_works(settings)
        memory = pick_memory(settings, embedder, clock, memory_urls(directory), uses_faiss=uses_faiss)
        stack.push_async_callback(memory.store.close)
        whys["memory"] = memory.why
        toolbox = LocalToolBox(shipped_tools(system_clock=clock, search_dir=settings.search_dir))
        services = NodeServices(
            llm=llm.client,
            experts=ExpertBook(directory, experts, well_known),
            toolbox=toolbox,
            memory=memory.store,
            embedder=embedder,
            clock=clock,
            prompts=shipped_prompts(),
            router=Router(embedder),
        )
        yield Mind(services, llm, experts, access, directory, memory, store, cpu, whys)


def runner_of(settings: Settings, services: NodeServices) -> WorkflowRunner:
    """Return the runner of the workflow that answers every turn.

    Raises:
        WorkflowDefinitionError: The workflow is wrong.
    """
    path = settings.workflows_dir / f"{settings.workflow}.yaml"
    return WorkflowRunner(load_workflow(path, prompts=services.prompts), services)


@asynccontextmanager
async def agent(settings: Settings) -> AsyncIterator[Parts]:
    """Bring the whole agent up; on leaving, end its calls and close everything.

    Raises:
        AgentError: A part cannot be had; the message says which and what to do.
    """
    async with AsyncExitStack() as stack:
        mind = await stack.enter_async_context(thinking(settings))
        services, memory, clock = mind.services, mind.services.memory, mind.services.clock
        runner = runner_of(settings, services)
        stt = await _keep(stack, mind.whys, "speech to text", pick_stt(settings, mind.store, mind.cpu))
        tts = await _keep(stack, mind.whys, "text to speech", pick_tts(settings, mind.store, mind.cpu))
        for part, why in mind.whys.items():
            log.info("Picked %s: %s", part, why)
        await runner.warm()
        states = mind.memory.states
        service = TwinService(runner.run, memory, clock, settings, states, read_ahead=runner.read_ahead)
        stack.push_async_callback(service.close)
        calls = WebRtcGateway(service, VoiceEngines(stt, tts), settings, clock)
        stack.push_async_callback(calls.close)
        _background(stack, runner.read_ahead([], ""), "read-ahead")
        trials = EngineTrials(settings, mind.cpu)
        probes = probes_of(stt, tts, services.llm, memory)
        health = Health(probes, {"llm": mind.llm.is_up}, trials.notes)
        _background(stack, health.run(), "health")
        _background(stack, follow_experts(mind.directory, runner.warm), "experts")
        _background(stack, _sweep(service), "idle-sessions")

        def describe() -> Mapping[str, Any]:
            return {
                "version": __version__,
                "workflow": settings.workflow,
                "engines": mind.whys,
                "cpu": mind.cpu.model,
                "set_aside": trials.set_aside(),
                "memory": mind.memory.status(),
                "services": {"source": mind.directory.name, **asdict(mind.directory.state())},
                "tasks": len(asyncio.all_tasks()),
            }

        def experts() -> Mapping[str, Any]:
            return describe_experts(mind.directory, settings, mind.llm, services.experts)

        told = tool_prompts(services.prompts)
        engines = Engines(services.embedder, stt, tts)
        instances = mind.experts.instances
        gateway = await make_gateway(settings, instances, mind.access, clock, mind.llm, engines, told)
        stack.push_async_callback(gateway.close)

        # What is loaded now stays for good; the collector need not look at it in the middle of a call.
        gc.collect()
        gc.freeze()
        speak = Lines(tts).wav
        names = host_names(settings, mind.directory)
        yield Parts(
            settings,
            service,
            calls,
            services.toolbox,
            health.checks,
            describe,
            experts,
            speak,
            gateway,
            names,
        )


async def _keep(stack: AsyncExitStack, whys: Whys, part: str, picking: Awaitable[Picked[T]]) -> T:
    picked = await picking
    whys[part] = picked.why
    stack.push_async_callback(picked.engine.close)
    return picked.engine


def _background(stack: AsyncExitStack, work: Coroutine[Any, Any, None], name: str) -> None:
    task = asyncio.create_task(work, name=name)

    async def end() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stack.push_async_callback(end)


async def _sweep(service: TwinService) -> None:
    while True:
        await asyncio.sleep(SWEEP_S)
        await service.close_idle(IDLE_SESSION_S)
