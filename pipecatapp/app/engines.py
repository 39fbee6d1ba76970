"""Picks the engine behind each port from the tables of engines, with the reason.

It owns the rule: by name, CPU, trial and what is present. Every choice comes with a sentence for the log and
the status page. Not here: which engines there are (`adapters/*/engines.py`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from pipecatapp.adapters.embed.engines import ENGINES as EMBEDDER_ENGINES
from pipecatapp.adapters.engine import Default, EngineOptions, EngineSpec, LoadableEngine, feature_names
from pipecatapp.adapters.host.cpu import CpuInfo
from pipecatapp.adapters.llm.api_key import ensure_llm_key, is_loopback_url
from pipecatapp.adapters.llm.openai_chat import OpenAiLlm
from pipecatapp.adapters.llm.server_process import LlmServerProcess
from pipecatapp.adapters.stt.engines import ENGINES as STT_ENGINES
from pipecatapp.adapters.tts.engines import ENGINES as TTS_ENGINES
from pipecatapp.app.configuration import AUTO
from pipecatapp.app.local_llm import LocalLlm
from pipecatapp.app.trials import REMEDY, EngineTrials
from pipecatapp.artifacts.model_store import ModelStore
from pipecatapp.errors import AdapterError, ConfigError
from pipecatapp.ports import Embedder, LlmClient, SpeechToText, TextToSpeech
from pipecatapp.settings import Settings

log = logging.getLogger(__name__)


class Closable(Protocol):
    """Something that must be closed."""

    async def close(self) -> None:
        """Free it."""
        ...


class NamedEngine(Closable, Protocol):
    """An engine that says what it is."""

    @property
    def name(self) -> str:
        """Engine and model."""
        ...


E_co = TypeVar("E_co", bound=Closable, covariant=True)
C = TypeVar("C", bound="NamedEngine")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKind(Generic[E_co]):
    """A port of which the settings name the engine.

    Args:
        variable: The setting.
        engines: What it may name.
        expert: The list of the port's models in `models.yaml`.
        noun: What a person calls a model of it.
        verb: What its engine does, as "pocketsphinx listens".
        use: What cannot be without it, as a sentence ends.
    """

    variable: str
    engines: Mapping[str, LoadableEngine[E_co]]
    expert: str
    noun: str
    verb: str
    use: str

    def base_url_variable(self) -> str:
        """Return the setting of the server's address."""
        return self.variable.replace("_SERVICE", "_BASE_URL")

    def valid(self, cpu: CpuInfo) -> str:
        """Return the names that work on this CPU for certain."""
        sure = (
            name
            for name, spec in self.engines.items()
            if spec.trial is None and cpu.supports(spec.requires_cpu)
        )
        return ", ".join((AUTO, *sure))


STT = EngineKind(
    variable="STT_SERVICE",
    engines=STT_ENGINES,
    expert="stt",
    noun="model",
    verb="listens",
    use="calls need it",
)
TTS = EngineKind(
    variable="TTS_SERVICE",
    engines=TTS_ENGINES,
    expert="tts",
    noun="voice",
    verb="speaks",
    use="calls need it",
)
EMBEDDER = EngineKind(
    variable="EMBEDDER_SERVICE",
    engines=EMBEDDER_ENGINES,
    expert="embedding",
    noun="model",
    verb="embeds",
    use="the memory and the choice of an expert need it",
)
KINDS: tuple[EngineKind[Closable], ...] = (STT, TTS, EMBEDDER)


def engine_choice(
    kind: EngineKind[E_co],
    wanted: str,
    cpu: CpuInfo,
    has_model: Callable[[EngineSpec], bool] = lambda _spec: True,
) -> tuple[str, str]:
    """Return an engine's name, and why it is this one.

    Args:
        kind: The port.
        wanted: The setting.
        cpu: This machine's.
        has_model: Whether a model of an engine is here.

    Raises:
        ConfigError: The one that is asked for cannot run on this CPU, or none can.
    """
    if wanted != AUTO:
        missing = cpu.missing(kind.engines[wanted].requires_cpu)
        if missing:
            raise ConfigError(
                "cpu-too-old",
                f"{kind.variable}={wanted} needs {', '.join(missing)}, which this CPU lacks; valid here: "
                f"{kind.valid(cpu)}",
            )
        return wanted, f"{kind.variable}={wanted}"
    reason = ""
    for name, spec in kind.engines.items():
        if spec.default is Default.NEVER:
            continue
        missing = cpu.missing(spec.requires_cpu)
        if missing:
            reason = f"this CPU lacks {', '.join(missing)}, which {spec.label}'s runtime needs"
        elif spec.default is Default.WITH_MODEL and not has_model(spec):
            fetch = f"`twin models fetch --expert {kind.expert}`"
            reason = f"no {spec.label} {kind.noun} is here ({fetch})"
        else:
            return name, reason or _merit(kind, spec)
    raise ConfigError("no-engine", f"{reason}; name another: {kind.variable} is one of {kind.valid(cpu)}")


def _merit(kind: EngineKind[E_co], spec: EngineSpec) -> str:
    if spec.default is Default.WITH_MODEL:
        return f"its {kind.noun} is here"
    if spec.requires_cpu:
        return f"this CPU has {feature_names(spec.requires_cpu)}"
    return "it runs on every CPU"


async def _pick(
    kind: EngineKind[C],
    wanted: str,
    options: EngineOptions,
    settings: Settings,
    store: ModelStore,
    cpu: CpuInfo,
) -> Picked[C]:
    """Return the engine of a port, its model found and, the first time, tried.

    Args:
        kind: The port.
        wanted: Its setting.
        options: What it is loaded with, but for the model's path.
        settings: For the profile and the trials.
        store: This machine's models.
        cpu: Its processor.

    Raises:
        AgentError: It cannot be had; the message says what to do.
    """
    name, reason = engine_choice(kind, wanted, cpu, lambda spec: bool(_present(kind, spec, store)))
    spec = kind.engines[name]
    path = _model_path(kind, spec, options.model_name, settings, store, cpu)
    if spec.trial is not None:
        fault = await EngineTrials(settings, cpu).ask(spec.trial.name, path)
        if fault:
            name, reason = _substitute(kind, wanted, cpu, fault), fault
            spec, path = kind.engines[name], Path()
    if spec.needs_server:
        _needed(options.base_url, kind.base_url_variable(), f"{kind.variable}={name}")
    engine = await spec.load(replace(options, model=path))
    return Picked(engine, f"{engine.name}, because {reason}")


def _substitute(kind: EngineKind[E_co], wanted: str, cpu: CpuInfo, fault: str) -> str:
    """Return the engine that takes the place of one that dies on this CPU.

    Raises:
        ConfigError: It was asked for by name, or there is none.
    """
    others = [
        name
        for name, spec in kind.engines.items()
        if spec.default is Default.ALWAYS and spec.trial is None and cpu.supports(spec.requires_cpu)
    ]
    if not others:
        way_out = (
            f"{kind.variable}=openai with {kind.base_url_variable()} has another machine do it. {REMEDY}"
        )
        raise ConfigError("engine-dies", f"{fault}; {kind.use}.", hint=way_out)
    if wanted != AUTO:
        raise ConfigError(
            "engine-dies", f"{kind.variable}={wanted}: {fault}; valid here: {kind.valid(cpu)}", hint=REMEDY
        )
    return others[0]


def _model_path(
    kind: EngineKind[E_co], spec: EngineSpec, name: str, settings: Settings, store: ModelStore, cpu: CpuInfo
) -> Path:
    """Return the model's file or folder; an empty path for an engine that has none here.

    Raises:
        ArtifactError: It is not here; the hint is the command that fetches it.
    """
    if not spec.models:
        return Path()
    names = model_names(kind, spec, store)
    if not name and len(names) == len(store.catalogue.expert(kind.expert)):
        # Every model of the kind is this engine's: profile and CPU decide among them.
        name = store.choose(kind.expert, profile=settings.profile, cpu_flags=cpu.flags).name
    return store.path(name or next(iter(_present(kind, spec, store)), names[0]))


def model_names(kind: EngineKind[E_co], spec: EngineSpec, store: ModelStore) -> list[str]:
    """Return the names of an engine's models in `models.yaml`."""
    return [model.name for model in store.catalogue.expert(kind.expert) if model.name.startswith(spec.models)]


def _present(kind: EngineKind[E_co], spec: EngineSpec, store: ModelStore) -> list[str]:
    return [name for name in model_names(kind, spec, store) if store.is_present(name)]


def stt_choice(settings: Settings, cpu: CpuInfo) -> tuple[str, str]:
    """Return the recogniser's name in STT_SERVICE, and why it is this one.

    Raises:
        ConfigError: The one that is asked for cannot run on this CPU.
    """
    return engine_choice(STT, settings.stt_service, cpu)


async def pick_stt(settings: Settings, store: ModelStore, cpu: CpuInfo) -> Picked[SpeechToText]:
    """Return the recogniser.

    Raises:
        AgentError: It cannot be had; the message says what to do.
    """
    options = EngineOptions(
        model_name=settings.stt_model,
        threads=settings.stt_threads,
        base_url=settings.stt_base_url,
        api_key=_key(settings),
    )
    return await _pick(STT, settings.stt_service, options, settings, store, cpu)


async def pick_tts(settings: Settings, store: ModelStore, cpu: CpuInfo) -> Picked[TextToSpeech]:
    """Return the voice.

    Raises:
        AgentError: It cannot be had; the message says what to do.
    """
    options = EngineOptions(
        model_name=settings.tts_model,
        voice=settings.tts_voice,
        language=settings.tts_language,
        threads=settings.tts_threads,
        base_url=settings.tts_base_url,
        api_key=_key(settings),
    )
    return await _pick(TTS, settings.tts_service, options, settings, store, cpu)


async def pick_embedder(settings: Settings, store: ModelStore, cpu: CpuInfo) -> Picked[Embedder]:
    """Return the embedder.

    Raises:
        AgentError: It cannot be had; the message says what to do.
    """
    options = EngineOptions(
        model_name=settings.embedder_model, base_url=settings.embedder_base_url, api_key=_key(settings)
    )
    return await _pick(EMBEDDER, settings.embedder_service, options, settings, store, cpu)


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


def _needed(value: str, variable: str, because: str) -> str:
    if not value:
        raise ConfigError(
            "setting-missing", f"{because} needs {variable}.", hint=f"Set {variable} to http://.../v1"
        )
    return value


def _key(settings: Settings) -> str:
    return settings.openai_api_key.get_secret_value()
