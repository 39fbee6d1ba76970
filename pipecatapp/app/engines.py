"""Which engine stands behind each port on this machine, and why.

It owns the rules by name, CPU and what is present; an engine itself is an adapter. Every choice comes
with a sentence for the log and the status page.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from pipecatapp.adapters.cpu import LLAMA_WHEEL_FLAGS, CpuInfo, read_cpu
from pipecatapp.adapters.llm_server import (
    CommandBuilder,
    LlmServerProcess,
    llama_server_command,
    xllamacpp_command,
)
from pipecatapp.adapters.openai_llm import OpenAiLlm
from pipecatapp.app.models import model_store
from pipecatapp.errors import ConfigError
from pipecatapp.ports import Embedder, LlmClient, SpeechToText, TextToSpeech
from pipecatapp.settings import Settings
from pipecatapp.supply.store import ModelStore

log = logging.getLogger(__name__)

WHISPER_FLAGS = ("sse4_1",)
"""What CTranslate2's wheels need; without it transcription ends in SIGILL."""
MEMORY_SHARE = 0.5
"""Part of the machine's memory that the language model may take."""


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
    why: str


@dataclass(frozen=True, slots=True)
class PickedLlm:
    """The language model: its client, and the child server when there is one."""

    client: LlmClient
    server: LlmServerProcess | None
    why: str

    def is_up(self) -> bool:
        """Whether the child server answers; an outside one is taken at its word."""
        return self.server is None or self.server.is_ready

    async def close(self) -> None:
        """Let go of the client and end the child."""
        await self.client.close()
        if self.server is not None:
            await self.server.close()


async def pick_stt(settings: Settings, store: ModelStore, cpu: CpuInfo) -> Picked[SpeechToText]:
    """Return the recogniser.

    Raises:
        AgentError: It cannot be had; the message says what to do.
    """
    name, why = settings.stt_service, f"STT_SERVICE={settings.stt_service}"
    if name == "auto":
        if cpu.supports(WHISPER_FLAGS):
            name, why = "embedded", "this CPU has SSE4.1"
        else:
            name, why = "pocketsphinx", "this CPU lacks SSE4.1, which Whisper's runtime needs"
    if name in ("embedded", "faster-whisper", "realtimestt"):
        model = settings.stt_model or store.choose("stt", profile=settings.profile, cpu_flags=cpu.flags).name
        engine = await _whisper(name, store.path(model), settings)
    elif name == "openai":
        from pipecatapp.adapters.stt_openai import OpenAiStt

        base_url = _needed(settings.stt_base_url, "STT_BASE_URL", "STT_SERVICE=openai")
        engine = OpenAiStt(base_url, settings.stt_model or "whisper-1", _key(settings))
    else:
        from pipecatapp.adapters.stt_pocketsphinx import PocketSphinxStt

        engine = await PocketSphinxStt.load()
    return Picked(engine, f"{engine.name}, because {why}")


async def _whisper(name: str, model: Path, settings: Settings) -> SpeechToText:
    if name == "embedded":
        from pipecatapp.adapters.stt_embedded import ShortWindowWhisper

        return await ShortWindowWhisper.load(model, threads=settings.stt_threads)
    if name == "faster-whisper":
        from pipecatapp.adapters.stt_faster_whisper import FasterWhisperStt

        return await FasterWhisperStt.load(model, threads=settings.stt_threads)
    from pipecatapp.adapters.stt_realtimestt import RealtimeStt

    return await RealtimeStt.load(model)


async def pick_tts(settings: Settings, store: ModelStore, cpu: CpuInfo) -> Picked[TextToSpeech]:
    """Return the voice.

    Raises:
        AgentError: It cannot be had; the message says what to do.
    """
    name, why = settings.tts_service, f"TTS_SERVICE={settings.tts_service}"
    if name == "auto":
        voices = [model.name for model in store.catalogue.expert("tts") if store.is_present(model.name)]
        has_piper = any(voice.startswith("piper-") for voice in voices)
        name = "piper" if has_piper else "espeak"
        why = (
            "its voice is here"
            if has_piper
            else "no Piper voice is here (`twin models fetch --expert tts_models`)"
        )
    if name == "piper":
        from pipecatapp.adapters.tts_piper import PiperTts

        model = settings.tts_model or _first(store, "tts", "piper-", cpu)
        engine: TextToSpeech = await PiperTts.load(store.path(model), threads=settings.tts_threads)
    elif name == "kokoro":
        from pipecatapp.adapters.tts_kokoro import KokoroTts

        model = settings.tts_model or _first(store, "tts", "kokoro", cpu)
        engine = await KokoroTts.load(store.path(model), voice=settings.tts_voice)
    elif name == "openai":
        from pipecatapp.adapters.tts_openai import OpenAiTts

        base_url = _needed(settings.tts_base_url, "TTS_BASE_URL", "TTS_SERVICE=openai")
        engine = OpenAiTts(base_url, settings.tts_model or "tts-1", settings.tts_voice, _key(settings))
    else:
        from pipecatapp.adapters.tts_espeak import EspeakTts

        engine = EspeakTts(voice=settings.tts_voice)
    return Picked(engine, f"{engine.name}, because {why}")


async def pick_embedder(settings: Settings, store: ModelStore, cpu: CpuInfo) -> Picked[Embedder]:
    """Return the embedder.

    Raises:
        AgentError: It cannot be had; the message says what to do.
    """
    from pipecatapp.adapters.embedder_minilm import MiniLmEmbedder

    model = store.choose("embedding", profile=settings.profile, cpu_flags=cpu.flags).name
    engine = await MiniLmEmbedder.load(store.path(model))
    return Picked(engine, f"{engine.name}, because it runs on every CPU")


async def pick_llm(settings: Settings, store: ModelStore, cpu: CpuInfo) -> PickedLlm:
    """Return the language model's client, its child server started when none is given by LLM_BASE_URL.

    Raises:
        AgentError: It cannot be had; the message says what to do.
    """
    if settings.llm_base_url or settings.llm_service == "openai":
        base_url = _needed(settings.llm_base_url, "LLM_BASE_URL", "LLM_SERVICE=openai")
        key = settings.llm_api_key.get_secret_value() or _key(settings)
        extensions = settings.llm_service != "openai"
        client = OpenAiLlm(base_url, settings.llm_model or "default", key, llama_extensions=extensions)
        return PickedLlm(client, None, f"the server at {base_url}, because LLM_BASE_URL names it")
    build, model, why = _llm_builder(settings, store, cpu)
    server = LlmServerProcess(build, port=settings.llm_port, nice=settings.llm_nice)
    await server.start()
    return PickedLlm(OpenAiLlm(server.base_url, model, server.api_key), server, why)


def llm_command(settings: Settings, port: int) -> tuple[Sequence[str], str]:
    """Return the command that serves the language model of this machine on `port`, and why it is this one.

    Raises:
        AgentError: It cannot be had; the message says what to do.
    """
    build, _, why = _llm_builder(settings, model_store(settings), read_cpu())
    return build(port), why


def _llm_builder(settings: Settings, store: ModelStore, cpu: CpuInfo) -> tuple[CommandBuilder, str, str]:
    """Return the command builder, the model's name and why."""
    budget_mb = int(cpu.memory_mb * MEMORY_SHARE)
    model = (
        settings.llm_model
        or store.choose("main", profile=settings.profile, memory_mb=budget_mb, cpu_flags=cpu.flags).name
    )
    threads, context, slots = settings.llm_threads, settings.llm_context, settings.llm_slots
    binary = built_llama_server(settings)
    missing = cpu.missing(LLAMA_WHEEL_FLAGS)
    wants = settings.llm_service
    if wants == "xllamacpp" or (wants == "auto" and not missing):
        reason = "this CPU runs the prebuilt engine" if not missing else "LLM_SERVICE=xllamacpp"
        command = xllamacpp_command(store.path(model), threads=threads, context=context, slots=slots)
        return command, model, f"{model} in xllamacpp, because {reason}"
    if binary is None:
        lack = f"this CPU lacks {', '.join(missing)}, so " if missing else ""
        raise ConfigError(
            "no-llm-engine",
            f"{lack}the language model needs llama-server built from source, which is not here yet.",
            hint="Build it with: twin artifacts fetch llama.cpp",
            status=503,
        )
    reason = f"this CPU lacks {', '.join(missing)}" if missing else f"LLM_SERVICE={wants}"
    path = store.path(model)
    command = llama_server_command(binary, path, threads=threads, context=context, slots=slots)
    return command, model, f"{model} in llama-server, because {reason}"


def built_llama_server(settings: Settings) -> Path | None:
    """Return the newest `llama-server` that was built on or fetched to this machine, or None."""
    found = sorted(
        (settings.cache_dir / "artifacts" / "llama.cpp").glob("*/bin/llama-server"),
        key=lambda path: path.stat().st_mtime,
    )
    return found[-1] if found else None


def _first(store: ModelStore, expert: str, prefix: str, cpu: CpuInfo) -> str:
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
