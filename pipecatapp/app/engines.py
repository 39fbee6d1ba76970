"""Picks the engine behind each port on this machine, with the reason.

It owns the rules by name, CPU and what is present; an engine itself is an adapter. Every choice comes
with a sentence for the log and the status page.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from pipecatapp.adapters.host.cpu import CpuInfo
from pipecatapp.adapters.llm.api_key import ensure_llm_key, is_loopback_url
from pipecatapp.adapters.llm.openai_chat import OpenAiLlm
from pipecatapp.adapters.llm.server_process import LlmServerProcess
from pipecatapp.app.local_llm import LocalLlm
from pipecatapp.app.trials import REMEDY, EngineTrials
from pipecatapp.artifacts.model_store import ModelStore
from pipecatapp.errors import AdapterError, ConfigError
from pipecatapp.ports import Embedder, LlmClient, SpeechToText, TextToSpeech
from pipecatapp.settings import Settings

log = logging.getLogger(__name__)

WHISPER_FLAGS = ("sse4_1",)
"""What CTranslate2's wheels need; without it transcription ends in SIGILL."""
WHISPER_SERVICES = ("embedded", "faster-whisper", "realtimestt")
"""Values of STT_SERVICE that run on CTranslate2."""
VOICE_PREFIXES = {"piper": "piper-", "kokoro": "kokoro"}
"""Values of TTS_SERVICE that run on ONNX Runtime, and how their models' names begin."""


class Closable(Protocol):
    """Something that must be closed."""

    async def close(self) -> None:
        """Free it."""
        ...


E_co = TypeVar("E_co", bound=Closable, covariant=True)


@dataclass(frozen=True, slots=True)
class Picked(Generic[E_co]):
    """An engine, ready, and the sentence that says why it is this one."""

    engine: E_co
    reason: str


@dataclass(frozen=True, slots=True)
class PickedLlm:
    """The language model: its client, and the child server when there is one.

    Args:
        client: Who is asked.
        server: This machine's child server, or None.
        reason: Why it is this one.
        is_elsewhere: Whether another machine answers in the child's place; None when no other can.
    """

    client: LlmClient
    server: LlmServerProcess | None
    reason: str
    is_elsewhere: Callable[[], bool] | None = None

    def is_up(self) -> bool:
        """Whether the child server or another machine answers; LLM_BASE_URL is taken at its word."""
        if self.server is not None and self.server.is_ready:
            return True
        return self.is_elsewhere() if self.is_elsewhere is not None else self.server is None

    async def close(self) -> None:
        """Let go of the client and end the child."""
        await self.client.close()
        if self.server is not None:
            await self.server.close()


def stt_choice(settings: Settings, cpu: CpuInfo) -> tuple[str, str]:
    """Return the recogniser's name in STT_SERVICE, and why it is this one.

    Raises:
        ConfigError: The one that is asked for cannot run on this CPU.
    """
    name = settings.stt_service
    missing = cpu.missing(WHISPER_FLAGS)
    if name == "auto" and missing:
        return "pocketsphinx", f"this CPU lacks {', '.join(missing)}, which Whisper's runtime needs"
    if name == "auto":
        return "embedded", "this CPU has SSE4.1"
    if name in WHISPER_SERVICES and missing:
        raise ConfigError(
            "cpu-too-old",
            f"STT_SERVICE={name} needs {', '.join(missing)}, which this CPU lacks; valid here: "
            "auto, pocketsphinx, openai",
        )
    return name, f"STT_SERVICE={name}"


async def pick_stt(settings: Settings, store: ModelStore, cpu: CpuInfo) -> Picked[SpeechToText]:
    """Return the recogniser.

    Raises:
        AgentError: It cannot be had; the message says what to do.
    """
    name, reason = stt_choice(settings, cpu)
    path = Path()
    if name in WHISPER_SERVICES:
        model = settings.stt_model or store.choose("stt", profile=settings.profile, cpu_flags=cpu.flags).name
        path = store.path(model)
        fault = await EngineTrials(settings, cpu).ask("whisper", path)
        if fault:
            _refuse("STT_SERVICE", settings.stt_service, fault, "auto, pocketsphinx, openai")
            name, reason = "pocketsphinx", fault
    if name in WHISPER_SERVICES:
        engine = await _whisper(name, path, settings)
    elif name == "openai":
        from pipecatapp.adapters.stt.openai import OpenAiStt

        base_url = _needed(settings.stt_base_url, "STT_BASE_URL", "STT_SERVICE=openai")
        engine = OpenAiStt(base_url, settings.stt_model or "whisper-1", _key(settings))
    else:
        from pipecatapp.adapters.stt.pocketsphinx import PocketSphinxStt

        engine = await PocketSphinxStt.load()
    return Picked(engine, f"{engine.name}, because {reason}")


async def _whisper(name: str, model: Path, settings: Settings) -> SpeechToText:
    if name == "embedded":
        from pipecatapp.adapters.stt.whisper_short_window import ShortWindowWhisper

        return await ShortWindowWhisper.load(model, threads=settings.stt_threads)
    if name == "faster-whisper":
        from pipecatapp.adapters.stt.faster_whisper import FasterWhisperStt

        return await FasterWhisperStt.load(model, threads=settings.stt_threads)
    from pipecatapp.adapters.stt.realtimestt import RealtimeStt

    return await RealtimeStt.load(model)


async def pick_tts(settings: Settings, store: ModelStore, cpu: CpuInfo) -> Picked[TextToSpeech]:
    """Return the voice.

    Raises:
        AgentError: It cannot be had; the message says what to do.
    """
    name, reason = settings.tts_service, f"TTS_SERVICE={settings.tts_service}"
    if name == "auto":
        voices = [model.name for model in store.catalogue.expert("tts") if store.is_present(model.name)]
        has_piper = any(voice.startswith("piper-") for voice in voices)
        name = "piper" if has_piper else "espeak"
        reason = (
            "its voice is here" if has_piper else "no Piper voice is here (`twin models fetch --expert tts`)"
        )
    path = Path()
    if name in VOICE_PREFIXES:
        path = store.path(settings.tts_model or _first(store, "tts", VOICE_PREFIXES[name]))
        fault = await EngineTrials(settings, cpu).ask(name, path)
        if fault:
            _refuse("TTS_SERVICE", settings.tts_service, fault, "auto, espeak, openai")
            name, reason = "espeak", fault
    if name == "piper":
        from pipecatapp.adapters.tts.piper import PiperTts

        engine: TextToSpeech = await PiperTts.load(path, threads=settings.tts_threads)
    elif name == "kokoro":
        from pipecatapp.adapters.tts.kokoro import KokoroTts

        engine = await KokoroTts.load(path, voice=settings.tts_voice, threads=settings.tts_threads)
    elif name == "openai":
        from pipecatapp.adapters.tts.openai import OpenAiTts

        base_url = _needed(settings.tts_base_url, "TTS_BASE_URL", "TTS_SERVICE=openai")
        engine = OpenAiTts(
            base_url,
            settings.tts_model or "tts-1",
            settings.tts_voice or "alloy",
            _key(settings),
            language=settings.tts_language,
        )
    else:
        from pipecatapp.adapters.tts.espeak import EspeakTts

        engine = await EspeakTts.load(voice=settings.tts_voice or "en-us")
    return Picked(engine, f"{engine.name}, because {reason}")


async def pick_embedder(settings: Settings, store: ModelStore, cpu: CpuInfo) -> Picked[Embedder]:
    """Return the embedder.

    Raises:
        AgentError: It cannot be had; the message says what to do.
    """
    if settings.embedder_service == "openai":
        from pipecatapp.adapters.embed.openai import OpenAiEmbedder

        base_url = _needed(settings.embedder_base_url, "EMBEDDER_BASE_URL", "EMBEDDER_SERVICE=openai")
        model = settings.embedder_model or "text-embedding-3-small"
        served = await OpenAiEmbedder.load(base_url, model, _key(settings))
        return Picked(served, f"{served.name}, because EMBEDDER_SERVICE=openai")
    name = settings.embedder_model
    if not name:
        name = store.choose("embedding", profile=settings.profile, cpu_flags=cpu.flags).name
    await EngineTrials(settings, cpu).require(
        "minilm",
        "the memory and the choice of an expert need it",
        store.path(name),
        way_out="EMBEDDER_SERVICE=openai with EMBEDDER_BASE_URL has another machine do it.",
    )
    from pipecatapp.adapters.embed.minilm import MiniLmEmbedder

    engine = await MiniLmEmbedder.load(store.path(name))
    return Picked(engine, f"{engine.name}, because it runs on every CPU")


async def pick_llm(settings: Settings, store: ModelStore, cpu: CpuInfo) -> PickedLlm:
    """Return the language model's client, its child server started when none is given by LLM_BASE_URL.

    Raises:
        AgentError: It cannot be had; the message says what to do.
    """
    if settings.llm_base_url or settings.llm_service == "openai":
        base_url = _needed(settings.llm_base_url, "LLM_BASE_URL", "LLM_SERVICE=openai")
        key = llm_key(settings, base_url)
        extensions = settings.llm_service != "openai"
        whose = "this machine's own model" if is_loopback_url(base_url) else f"the model at {base_url}"
        client = OpenAiLlm(
            base_url,
            settings.llm_model or "default",
            key,
            name=settings.llm_model or whose,
            llama_extensions=extensions,
        )
        return PickedLlm(client, None, f"the server at {base_url}, because LLM_BASE_URL names it")
    own = await asyncio.to_thread(LocalLlm, settings, store, cpu)
    server = LlmServerProcess(
        own.command, port=settings.llm_port, nice=settings.llm_nice, on_illegal=own.again
    )
    try:
        await server.start()
    except AdapterError as exc:
        if not server.is_cpu_at_fault:
            raise
        log.warning("The language model's server died of an instruction; its engine is tried anew")
        await asyncio.to_thread(own.again, exc.message)
        await server.start()
    return PickedLlm(OpenAiLlm(server.base_url, own.model, server.api_key), server, own.reason)


def uses_only_own_llm(settings: Settings) -> bool:
    """Whether what `pick_llm` returns is the expert `main`, whatever the house has of that name.

    It is on a machine without Consul, and where the settings send what is thought to another server.
    """
    is_sent_elsewhere = bool(settings.llm_base_url) and not is_loopback_url(settings.llm_base_url)
    return not settings.consul_url or is_sent_elsewhere or settings.llm_service == "openai"


def llm_key(settings: Settings, base_url: str) -> str:
    """Return the key for the server at `base_url`: the one set, this machine's own, or the one for others."""
    key = settings.llm_api_key.get_secret_value()
    if not key and settings.llm_service != "openai" and is_loopback_url(base_url):
        return ensure_llm_key(settings.data_dir)
    return key or _key(settings)


def _refuse(variable: str, value: str, fault: str, valid: str) -> None:
    """Refuse an engine that is asked for by name and dies here.

    Raises:
        ConfigError: It was asked for.
    """
    if value != "auto":
        raise ConfigError("engine-dies", f"{variable}={value}: {fault}; valid here: {valid}", hint=REMEDY)


def _first(store: ModelStore, expert: str, prefix: str) -> str:
    names = [model.name for model in store.catalogue.expert(expert) if model.name.startswith(prefix)]
    return next((name for name in names if store.is_present(name)), names[0])


def _needed(value: str, variable: str, because: str) -> str:
    if not value:
        raise ConfigError(
            "setting-missing", f"{because} needs {variable}.", hint=f"Set {variable} to http://.../v1"
        )
    return value


def _key(settings: Settings) -> str:
    return settings.openai_api_key.get_secret_value()
