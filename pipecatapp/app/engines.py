"""Which engine stands behind each port on this machine, and why.

It owns the rules by name, CPU and what is present; an engine itself is an adapter. Every choice comes
with a sentence for the log and the status page.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from pipecatapp.adapters.cpu import LLAMA_WHEEL_FLAGS, CpuInfo, read_cpu
from pipecatapp.adapters.llm_key import ensure_llm_key, is_loopback
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
from pipecatapp.supply.artifacts import ArtifactStore
from pipecatapp.supply.catalogue import Catalogue
from pipecatapp.supply.store import ModelStore

log = logging.getLogger(__name__)

WHISPER_FLAGS = ("sse4_1",)
"""What CTranslate2's wheels need; without it transcription ends in SIGILL."""
WHISPER_SERVICES = ("embedded", "faster-whisper", "realtimestt")
"""Values of STT_SERVICE that run on CTranslate2."""
LLAMA_CPP = "llama.cpp"
"""Name of the built engine in `artifacts.yaml`."""
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
    """The language model: its client, and the child server when there is one.

    Args:
        client: Who is asked.
        server: This machine's child server, or None.
        why: Why it is this one.
        is_elsewhere: Whether another machine answers in the child's place; None when no other can.
    """

    client: LlmClient
    server: LlmServerProcess | None
    why: str
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
    name, why = stt_choice(settings, cpu)
    if name in WHISPER_SERVICES:
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
            "its voice is here" if has_piper else "no Piper voice is here (`twin models fetch --expert tts`)"
        )
    if name == "piper":
        from pipecatapp.adapters.tts_piper import PiperTts

        model = settings.tts_model or _first(store, "tts", "piper-", cpu)
        engine: TextToSpeech = await PiperTts.load(store.path(model), threads=settings.tts_threads)
    elif name == "kokoro":
        from pipecatapp.adapters.tts_kokoro import KokoroTts

        model = settings.tts_model or _first(store, "tts", "kokoro", cpu)
        engine = await KokoroTts.load(
            store.path(model), voice=settings.tts_voice, threads=settings.tts_threads
        )
    elif name == "openai":
        from pipecatapp.adapters.tts_openai import OpenAiTts

        base_url = _needed(settings.tts_base_url, "TTS_BASE_URL", "TTS_SERVICE=openai")
        engine = OpenAiTts(
            base_url,
            settings.tts_model or "tts-1",
            settings.tts_voice or "alloy",
            _key(settings),
            language=settings.tts_language,
        )
    else:
        from pipecatapp.adapters.tts_espeak import EspeakTts

        engine = await EspeakTts.load(voice=settings.tts_voice or "en-us")
    return Picked(engine, f"{engine.name}, because {why}")


async def pick_embedder(settings: Settings, store: ModelStore, cpu: CpuInfo) -> Picked[Embedder]:
    """Return the embedder.

    Raises:
        AgentError: It cannot be had; the message says what to do.
    """
    if settings.embedder_service == "openai":
        from pipecatapp.adapters.embedder_openai import OpenAiEmbedder

        base_url = _needed(settings.embedder_base_url, "EMBEDDER_BASE_URL", "EMBEDDER_SERVICE=openai")
        model = settings.embedder_model or "text-embedding-3-small"
        served = await OpenAiEmbedder.load(base_url, model, _key(settings))
        return Picked(served, f"{served.name}, because EMBEDDER_SERVICE=openai")
    from pipecatapp.adapters.embedder_minilm import MiniLmEmbedder

    name = settings.embedder_model
    if not name:
        name = store.choose("embedding", profile=settings.profile, cpu_flags=cpu.flags).name
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
        whose = "this machine's own model" if is_loopback(base_url) else f"the model at {base_url}"
        client = OpenAiLlm(
            base_url,
            settings.llm_model or "default",
            key,
            name=settings.llm_model or whose,
            llama_extensions=extensions,
        )
        return PickedLlm(client, None, f"the server at {base_url}, because LLM_BASE_URL names it")
    build, model, why = _llm_builder(settings, store, cpu)
    server = LlmServerProcess(build, port=settings.llm_port, nice=settings.llm_nice)
    await server.start()
    return PickedLlm(OpenAiLlm(server.base_url, model, server.api_key), server, why)


def own_is_main(settings: Settings) -> bool:
    """Whether what `pick_llm` returns is the expert `main`, whatever the house has of that name.

    It is on a machine without Consul, and where the settings send what is thought to another server.
    """
    is_sent_elsewhere = bool(settings.llm_base_url) and not is_loopback(settings.llm_base_url)
    return not settings.consul_url or is_sent_elsewhere or settings.llm_service == "openai"


def llm_key(settings: Settings, base_url: str) -> str:
    """Return the key for the server at `base_url`: the one set, this machine's own, or the one for others."""
    key = settings.llm_api_key.get_secret_value()
    if not key and settings.llm_service != "openai" and is_loopback(base_url):
        return ensure_llm_key(settings.data_dir)
    return key or _key(settings)


def llm_command(settings: Settings, port: int) -> tuple[Sequence[str], str]:
    """Return the command that serves the language model of this machine on `port`, and why it is this one.

    Raises:
        AgentError: It cannot be had; the message says what to do.
    """
    build, _, why = _llm_builder(settings, model_store(settings), read_cpu())
    return build(port), why


def default_llm(settings: Settings, store: ModelStore, cpu: CpuInfo) -> str:
    """Return the name of the language model that this machine thinks with.

    Raises:
        SupplyError: None is here; the hint is the command that fetches one.
    """
    budget_mb = int(cpu.memory_mb * MEMORY_SHARE)
    return (
        settings.llm_model
        or store.choose("main", profile=settings.profile, memory_mb=budget_mb, cpu_flags=cpu.flags).name
    )


def _llm_builder(settings: Settings, store: ModelStore, cpu: CpuInfo) -> tuple[CommandBuilder, str, str]:
    """Return the command builder, the model's name and why."""
    model = default_llm(settings, store, cpu)
    threads = settings.llm_threads or max(1, cpu.cores - 1)
    context, slots = settings.llm_context, settings.llm_slots
    binary = built_llama_server(settings, store.catalogue)
    engine, reason = llm_choice(settings, cpu, has_wheel=_has_wheel(), has_binary=binary is not None)
    path = store.path(model)
    if engine == "xllamacpp" or binary is None:
        command = xllamacpp_command(path, threads=threads, context=context, slots=slots)
    else:
        command = llama_server_command(binary, path, threads=threads, context=context, slots=slots)
    return command, model, f"{model} in {engine}, because {reason}"


def llm_choice(settings: Settings, cpu: CpuInfo, *, has_wheel: bool, has_binary: bool) -> tuple[str, str]:
    """Return the engine of the child server, `xllamacpp` or `llama-server`, and why it is this one.

    Args:
        settings: LLM_SERVICE counts.
        cpu: This machine's.
        has_wheel: The `xllamacpp` package is installed.
        has_binary: `llama-server` is on this machine.

    Raises:
        ConfigError: The one that is asked for, or any, cannot run here; the hint says how to get one.
    """
    wants = settings.llm_service
    missing = cpu.missing(LLAMA_WHEEL_FLAGS)
    lacks = f"this CPU lacks {', '.join(missing)}, which the prebuilt engine needs"
    if wants == "xllamacpp" and missing:
        raise ConfigError(
            "cpu-too-old", f"LLM_SERVICE=xllamacpp: {lacks}; valid here: auto, llama-server, openai"
        )
    if wants == "xllamacpp" and not has_wheel:
        raise ConfigError("engine-missing", "xllamacpp is not installed", hint="pip install 'twin[voice]'")
    if wants != "llama-server" and has_wheel and not missing:
        return "xllamacpp", "this CPU runs the prebuilt engine" if wants == "auto" else f"LLM_SERVICE={wants}"
    if has_binary:
        why = lacks if missing else "the prebuilt engine is not installed"
        return "llama-server", why if wants == "auto" else f"LLM_SERVICE={wants}"
    why = f"{lacks}, and " if missing and wants == "auto" else ""
    raise ConfigError(
        "no-llm-engine",
        f"{why}llama-server, built from source, is not here yet.",
        hint="Build it with: twin artifacts fetch llama.cpp",
        status=503,
    )


def _has_wheel() -> bool:
    return importlib.util.find_spec("xllamacpp") is not None


def built_llama_server(settings: Settings, catalogue: Catalogue) -> Path | None:
    """Return this machine's whole, built `llama-server`, or None."""
    artifacts = ArtifactStore(settings.cache_dir / "artifacts", catalogue)
    return artifacts.path(LLAMA_CPP, "llama-server") if artifacts.is_present(LLAMA_CPP) else None


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
