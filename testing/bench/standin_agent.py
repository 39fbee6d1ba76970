"""The agent with stand-in models: everything but the engines is the product's.

It owns the composition for the load benchmark. Recogniser, language model, voice and embeddings are the
tests' fakes at the pace that the real ones have on two cores, so that calls are measured, not models.

Usage: TWIN_PORT=... python -m testing.bench.standin_agent
"""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable, Mapping
from typing import Any

from pipecatapp import __version__
from pipecatapp.adapters.memory.state_folder import StateFolder
from pipecatapp.agent.service import TwinService
from pipecatapp.app.clock import SystemClock
from pipecatapp.app.configuration import load_settings
from pipecatapp.app.core import runner_of
from pipecatapp.app.logs import set_up_logging
from pipecatapp.ports import CallManager, CheckResult, Clock, Transcript
from pipecatapp.settings import Settings
from pipecatapp.tools.registry import LocalToolBox, ToolDependencies, shipped_tools
from pipecatapp.understanding.example_classifier import ExampleClassifier
from pipecatapp.web.dependencies import AgentContext
from pipecatapp.web.serving import Listener, Serving, bind
from pipecatapp.workflow.loader import shipped_prompts
from pipecatapp.workflow.services import NodeServices
from testing.fakes.fake_embedder import FakeEmbedder
from testing.fakes.fake_experts import FakeExperts
from testing.fakes.fake_llm import FakeLlm
from testing.fakes.fake_memory import FakeMemory
from testing.fakes.fake_stt import FakeStt
from testing.fakes.fake_tts import FakeTts

HEARD = "Why is the sky blue?"
ANSWER = "Light of the sun is scattered by the air, and blue light is scattered more than red light."
STT_S = 0.08
FIRST_TOKEN_S = 0.12
TOKEN_S = 0.025
TTS_S = 0.06
"""Paces of the real engines on two cores (seconds), measured with one call."""


class PacedStt(FakeStt):
    """A recogniser that takes as long as the real one."""

    async def transcribe(self, pcm: bytes, *, final: bool) -> Transcript:
        await asyncio.sleep(STT_S)
        return await super().transcribe(pcm, final=final)


async def _pace(seconds: float) -> None:
    await asyncio.sleep(seconds)


def _services(clock: SystemClock) -> tuple[NodeServices, FakeMemory]:
    embedder = FakeEmbedder()
    memory = FakeMemory(embedder)
    llm = FakeLlm((ANSWER,), token_delay_s=TOKEN_S, sleep=_pace)
    given = ToolDependencies(system_clock=clock, search_dir=load_settings().search_dir)
    services = NodeServices(
        llm=llm,
        experts=FakeExperts(main=llm),
        toolbox=LocalToolBox(shipped_tools(given)),
        memory=memory,
        embedder=embedder,
        clock=clock,
        prompts=shipped_prompts(),
        classifier=ExampleClassifier(embedder),
    )
    return services, memory


async def _silence(_text: str) -> bytes:
    return b""


def voice_calls(service: TwinService, settings: Settings, clock: Clock) -> CallManager:
    """Return voice with stand-in engines; to import it takes longer than all the rest."""
    from pipecatapp.voice.call import VoiceEngines
    from pipecatapp.voice.call_manager import WebRtcCallManager

    engines = VoiceEngines(PacedStt((HEARD,)), FakeTts(delay_s=TTS_S, sleep=_pace))
    return WebRtcCallManager(service, engines, settings, clock)


async def run(calls_of: Callable[[TwinService, Settings, Clock], CallManager] = voice_calls) -> None:
    """Serve until told to stop.

    Args:
        calls_of: Makes voice.
    """
    settings, clock = load_settings(), SystemClock()
    set_up_logging(settings.log_level)
    services, memory = _services(clock)
    states = StateFolder(settings.data_dir / "states")
    service = TwinService(runner_of(settings, services).run, memory, clock, settings, states)
    calls = calls_of(service, settings, clock)

    def describe() -> Mapping[str, Any]:
        return {"version": __version__, "engines": "stand-ins", "tasks": len(asyncio.all_tasks())}

    def checks() -> Mapping[str, CheckResult]:
        return {"stand-ins": CheckResult(ok=True, detail="always ready")}

    context = AgentContext(
        settings=settings,
        service=service,
        calls=calls,
        toolbox=services.toolbox,
        checks=checks,
        describe=describe,
        experts=dict,
        speak=_silence,
    )
    serving = Serving(
        context, [Listener(bind(settings.host, settings.port, "TWIN_PORT"))], logs_requests=False
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, serving.stop)
    gc.freeze()
    await serving.run()
    await calls.close()
    await service.close()


if __name__ == "__main__":
    asyncio.run(run())
