"""The composition root: brings the agent up and down.

It owns the order in which parts are made, wired and closed; what a workflow needs of them is `core`'s,
which engine stands behind a port is `engines`', and who serves the parts is the command line's.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from typing import Any

from pipecatapp import __version__
from pipecatapp.agent.service import TwinService
from pipecatapp.app.allowed_hosts import allowed_hosts
from pipecatapp.app.core import keep_open, open_core, runner_of
from pipecatapp.app.discovery import describe_experts, follow_experts
from pipecatapp.app.engines import pick_stt, pick_tts
from pipecatapp.app.gateway import Engines, make_gateway, tool_prompts
from pipecatapp.app.health import Health, probes_of
from pipecatapp.app.speech_cache import SpeechCache
from pipecatapp.app.trials import EngineTrials
from pipecatapp.settings import Settings
from pipecatapp.voice.call import VoiceEngines
from pipecatapp.voice.call_manager import WebRtcCallManager
from pipecatapp.web.dependencies import AgentContext

log = logging.getLogger(__name__)

IDLE_SESSION_S = 3600.0
"""Sessions that nobody used for this long are closed (seconds); they are revived from the store."""
SWEEP_S = 300.0
"""Time between two looks for idle sessions (seconds)."""


@asynccontextmanager
async def open_agent(settings: Settings) -> AsyncIterator[AgentContext]:
    """Bring the whole agent up; on leaving, end its calls and close everything.

    Raises:
        AgentError: A part cannot be had; the message says which and what to do.
    """
    async with AsyncExitStack() as stack:
        core = await stack.enter_async_context(open_core(settings))
        services, memory, clock = core.services, core.services.memory, core.services.clock
        runner = runner_of(settings, services)
        stt = await keep_open(stack, core.reasons, "speech to text", pick_stt(settings, core.store, core.cpu))
        tts = await keep_open(stack, core.reasons, "text to speech", pick_tts(settings, core.store, core.cpu))
        for part, why in core.reasons.items():
            log.info("Picked an engine", extra={"part": part, "reason": why})
        await runner.warm()
        states = core.memory.states
        service = TwinService(runner.run, memory, clock, settings, states, prefill=runner.prefill)
        stack.push_async_callback(service.close)
        calls = WebRtcCallManager(service, VoiceEngines(stt, tts), settings, clock)
        stack.push_async_callback(calls.close)
        _background(stack, runner.prefill([], ""), "prefill")
        trials = EngineTrials(settings, core.cpu)
        probes = probes_of(stt, tts, services.llm, memory)
        health = Health(probes, {"llm": core.llm.is_up}, trials.notes)
        _background(stack, health.run(), "health")
        _background(stack, follow_experts(core.directory, runner.warm), "experts")
        _background(stack, _sweep(service), "idle-sessions")

        def describe() -> Mapping[str, Any]:
            return {
                "version": __version__,
                "workflow": settings.workflow,
                "engines": core.reasons,
                "cpu": core.cpu.model,
                "set_aside": trials.set_aside(),
                "memory": core.memory.status(),
                "services": {"source": core.directory.name, **asdict(core.directory.state())},
                "tasks": len(asyncio.all_tasks()),
            }

        def experts() -> Mapping[str, Any]:
            return describe_experts(core.directory, settings, core.llm, services.experts)

        told = tool_prompts(services.prompts)
        engines = Engines(services.embedder, stt, tts)
        backends = core.experts.backends
        gateway = await make_gateway(settings, backends, core.credentials, clock, core.llm, engines, told)
        stack.push_async_callback(gateway.close)

        # What is loaded now stays for good; the collector need not look at it in the middle of a call.
        gc.collect()
        gc.freeze()
        speak = SpeechCache(tts).wav
        names = allowed_hosts(settings, core.directory)
        yield AgentContext(
            settings=settings,
            service=service,
            calls=calls,
            toolbox=services.toolbox,
            checks=health.checks,
            describe=describe,
            experts=experts,
            speak=speak,
            gateway=gateway,
            allowed_hosts=names,
        )


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
