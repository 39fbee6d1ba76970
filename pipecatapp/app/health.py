"""Whether each part of the agent has really answered.

It owns the probes and their results; who asks is the web layer or `twin doctor`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from pipecatapp.errors import AgentError
from pipecatapp.ports import (
    ChatRequest,
    CheckResult,
    LlmClient,
    MemoryStore,
    Message,
    SpeechToText,
    TextToSpeech,
)
from pipecatapp.units import SPEECH_RATE_HZ, seconds_of

log = logging.getLogger(__name__)

PROBE_TIMEOUT_S = 120.0
"""Longest wait for a part's first answer (seconds); a model may still be loading."""
RETRY_S = 5.0
"""Time between two tries of a part that failed (seconds)."""

Probe = Callable[[], Awaitable[str]]
"""Makes a part answer; returns what to tell, raises AgentError."""


class Health:
    """Probes every part until it has answered.

    Args:
        probes: Name to probe, run in this order.
        is_up: Name to a quick question whether an answered part is still there.
        notes: Returns what else to tell of a part, such as that a better engine is set aside.
    """

    def __init__(
        self,
        probes: Mapping[str, Probe],
        is_up: Mapping[str, Callable[[], bool]],
        notes: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._notes = notes
        self._probes = dict(probes)
        self._is_up = dict(is_up)
        self._results = {name: CheckResult(False, "not asked yet") for name in probes}

    def checks(self) -> Mapping[str, CheckResult]:
        """Return each part's state now."""
        notes = self._notes()
        return {
            name: CheckResult(False, "was there, but is not answering now")
            if result.ok and name in self._is_up and not self._is_up[name]()
            else replace(result, detail=f"{result.detail}; {notes[name]}")
            if name in notes
            else result
            for name, result in self._results.items()
        }

    async def run(self) -> None:
        """Probe until every part has answered."""
        waiting = list(self._probes)
        while waiting:
            for name in list(waiting):
                self._results[name] = await self._try(name)
                if self._results[name].ok:
                    waiting.remove(name)
            if waiting:
                await asyncio.sleep(RETRY_S)
        log.info("Every part has answered; ready")

    async def _try(self, name: str) -> CheckResult:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                detail = await self._probes[name]()
        except AgentError as exc:
            log.warning("A part does not answer", extra={"part": name, "code": exc.code})
            return CheckResult(False, exc.message)
        except TimeoutError:
            return CheckResult(False, f"no answer in {PROBE_TIMEOUT_S:g} s")
        log.info("A part has answered", extra={"part": name, "detail": detail})
        return CheckResult(True, detail)


def probes_of(stt: SpeechToText, tts: TextToSpeech, llm: LlmClient, memory: MemoryStore) -> dict[str, Probe]:
    """Return one probe a part; what is said is also what is heard."""

    async def ask_tts() -> str:
        sound = b"".join([chunk async for chunk in tts.synthesize("I am ready.")])
        return f"{tts.name} spoke {seconds_of(sound, tts.sample_rate_hz):.1f} s"

    async def ask_stt() -> str:
        await stt.transcribe(bytes(2 * SPEECH_RATE_HZ), final=False)
        return f"{stt.name} listened"

    async def ask_llm() -> str:
        request = ChatRequest(messages=(Message("user", "Say yes."),), max_tokens=2)
        words = "".join([delta.text async for delta in llm.stream(request)])
        return f"{llm.name} answered {len(words)} characters"

    async def ask_memory() -> str:
        await memory.search("ready", limit=1)
        return "memory answered a search"

    return {"tts": ask_tts, "stt": ask_stt, "llm": ask_llm, "memory": ask_memory}
