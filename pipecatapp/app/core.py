"""The core that workflows need: language model, experts, embeddings, memory and tools.

It owns their order; what hears, speaks and serves is added by `composition`, and is not imported here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from pipecatapp.adapters.host.cpu import CpuInfo, read_cpu
from pipecatapp.app.clock import SystemClock
from pipecatapp.app.discovery import (
    EndpointCredentials,
    credentials_for,
    external_experts,
    memory_urls,
    open_directory,
    pick_experts,
)
from pipecatapp.app.engines import Closable, Picked, PickedLlm, pick_embedder
from pipecatapp.app.memory import AgentMemory, faiss_works, pick_memory
from pipecatapp.app.models import model_store
from pipecatapp.artifacts.model_store import ModelStore
from pipecatapp.experts.expert_metadata import load_profiles
from pipecatapp.experts.pool import ExpertPool
from pipecatapp.experts.registry import ExpertRegistry
from pipecatapp.ports import Endpoint, ServiceDirectory
from pipecatapp.settings import Settings
from pipecatapp.tools.registry import LocalToolBox, ToolDependencies, shipped_tools
from pipecatapp.understanding.example_classifier import ExampleClassifier
from pipecatapp.workflow.loader import load_workflow, shipped_prompts
from pipecatapp.workflow.runner import WorkflowRunner
from pipecatapp.workflow.services import NodeServices

T = TypeVar("T", bound=Closable)
Reasons = dict[str, str]
"""Part to the sentence that says what was picked for it, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """What a workflow needs, up, and what it was made from.

    Args:
        services: What nodes may use; the memory is among it.
        llm: The language model and, when there is one, its child server.
        experts: Every expert by name.
        credentials: How an instance of one is asked.
        directory: The services of the house.
        memory: The long-term memory and its saved states.
        store: This machine's models.
        cpu: This machine's processor.
        reasons: What was picked, and why.
    """

    services: NodeServices
    llm: PickedLlm
    experts: ExpertPool
    credentials: Callable[[Endpoint], EndpointCredentials]
    directory: ServiceDirectory
    memory: AgentMemory
    store: ModelStore
    cpu: CpuInfo
    reasons: Reasons


@asynccontextmanager
async def open_core(settings: Settings) -> AsyncIterator[Core]:
    """Bring up what a workflow needs: LLM, embeddings, memory and tools.

    Raises:
        AgentError: A part cannot be had; the message says which and what to do.
    """
    store, cpu, clock = model_store(settings), read_cpu(), SystemClock()
    well_known = load_profiles(settings.catalogue_dir)
    external = external_experts(settings)
    credentials = credentials_for(settings, external)
    async with AsyncExitStack() as stack:
        reasons: Reasons = {}
        directory = await open_directory(settings, clock, external)
        stack.push_async_callback(directory.close)
        llm, experts = await pick_experts(settings, store, cpu, directory, credentials, clock)
        stack.push_async_callback(llm.close)
        stack.push_async_callback(experts.close)
        embedder = await keep_open(stack, reasons, "embeddings", pick_embedder(settings, store, cpu))
        reasons["llm"] = llm.reason
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        uses_faiss = settings.memory == "remote" or await faiss_works(settings)
        memory = pick_memory(settings, embedder, clock, memory_urls(directory), uses_faiss=uses_faiss)
        stack.push_async_callback(memory.store.close)
        reasons["memory"] = memory.reason
        given = ToolDependencies(
            system_clock=clock, search_dir=settings.search_dir, options=settings.tool_options
        )
        services = NodeServices(
            llm=llm.client,
            experts=ExpertRegistry(directory, experts, well_known),
            toolbox=LocalToolBox(shipped_tools(given)),
            memory=memory.store,
            embedder=embedder,
            clock=clock,
            prompts=shipped_prompts(),
            classifier=ExampleClassifier(embedder),
        )
        yield Core(
            services=services,
            llm=llm,
            experts=experts,
            credentials=credentials,
            directory=directory,
            memory=memory,
            store=store,
            cpu=cpu,
            reasons=reasons,
        )


def runner_of(settings: Settings, services: NodeServices) -> WorkflowRunner:
    """Return the runner of the workflow that answers every turn.

    Raises:
        WorkflowDefinitionError: The workflow is wrong.
    """
    path = settings.workflows_dir / f"{settings.workflow}.yaml"
    return WorkflowRunner(load_workflow(path, prompts=services.prompts), services)


async def keep_open(stack: AsyncExitStack, reasons: Reasons, part: str, picking: Awaitable[Picked[T]]) -> T:
    """Return what is being picked, with its reason among `reasons`; it is closed with `stack`."""
    picked = await picking
    reasons[part] = picked.reason
    stack.push_async_callback(picked.engine.close)
    return picked.engine
