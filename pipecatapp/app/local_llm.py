"""This machine's own language model: which one, in which engine, by which command.

It owns the rules by name, CPU, trial and what is present; the child process is
`adapters/llm/server_process`'s.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from pipecatapp.adapters.host.cpu import CpuInfo
from pipecatapp.adapters.llm.engines import ENGINES, ServerOptions
from pipecatapp.adapters.llm.server_process import CommandBuilder
from pipecatapp.app.trials import REMEDY, EngineTrials
from pipecatapp.artifacts.artifact_store import ArtifactStore
from pipecatapp.artifacts.catalogue import Catalogue
from pipecatapp.artifacts.model_store import ModelStore
from pipecatapp.errors import ConfigError
from pipecatapp.settings import Settings

PREBUILT, BUILT = "xllamacpp", "llama-server"
"""This machine's own engines in the table."""
LLAMA_CPP = ENGINES[BUILT].artifact
"""Name of the built engine in `artifacts.yaml`."""
MEMORY_SHARE = 0.5
"""Part of the machine's memory that the language model may take."""


class LocalLlm:
    """The language model that this machine serves; it reads files and may try an engine, which takes seconds.

    Args:
        settings: What is wanted.
        store: This machine's models.
        cpu: Its processor.

    Raises:
        AgentError: It cannot be had; the message says what to do.
    """

    def __init__(self, settings: Settings, store: ModelStore, cpu: CpuInfo) -> None:
        self._settings = settings
        self._cpu = cpu
        self._trials = EngineTrials(settings, cpu)
        self._binary = built_llama_server(settings, store.catalogue)
        self.model = default_llm(settings, store, cpu)
        self._path = store.path(self.model)
        self._engine, self._command, self.reason = self._decide()

    def command(self, port: int) -> Sequence[str]:
        """Return the command that serves it on a port."""
        return self._command(port)

    def doubt(self, how: str) -> None:
        """Have the engine tried anew at the next start, for its process ended at an illegal instruction."""
        if self._engine == PREBUILT or self._binary is None:
            self._trials.doubt(PREBUILT, how)
        else:
            self._trials.llama.doubt(self._binary, how)

    def again(self, how: str) -> None:
        """Try the engine anew, and go on with what works.

        Raises:
            AgentError: None does.
        """
        self.doubt(how)
        self._engine, self._command, self.reason = self._decide()

    @property
    def doubted(self) -> str:
        """What `doubt` is about, as `twin trials --doubt` takes it."""
        if self._engine == PREBUILT or self._binary is None:
            return PREBUILT
        return str(self._binary)

    def _decide(self) -> tuple[str, CommandBuilder, str]:
        settings, cpu = self._settings, self._cpu
        has_wheel, has_binary = _has_wheel(), self._binary is not None
        fault = ""
        if has_wheel and settings.llm_service != BUILT and cpu.supports(ENGINES[PREBUILT].requires_cpu):
            fault = self._trials.engine_fault(PREBUILT, self._path)
        engine, reason = llm_choice(
            settings, cpu, has_wheel=has_wheel, has_binary=has_binary, wheel_fault=fault
        )
        options = ServerOptions(
            model=self._path,
            binary=self._fitted(engine),
            threads=settings.llm_threads or max(1, cpu.cores - 1),
            context=settings.llm_context,
            slots=settings.llm_slots,
        )
        serve = ENGINES[engine].command
        assert serve is not None
        command = serve(options)
        return engine, command, f"{self.model} in {engine}, because {reason}"

    def _fitted(self, engine: str) -> Path:
        """Return the built program, without the CPU libraries that die here; an empty path for the wheel."""
        if engine == PREBUILT or self._binary is None:
            return Path()
        return self._trials.llama.fitted(self._binary, self._path)


def default_llm(settings: Settings, store: ModelStore, cpu: CpuInfo) -> str:
    """Return the name of the language model that this machine thinks with.

    Raises:
        ArtifactError: None is here; the hint is the command that fetches one.
    """
    budget_mb = int(cpu.memory_mb * MEMORY_SHARE)
    return (
        settings.llm_model
        or store.choose("main", profile=settings.profile, memory_mb=budget_mb, cpu_flags=cpu.flags).name
    )


def llm_choice(
    settings: Settings, cpu: CpuInfo, *, has_wheel: bool, has_binary: bool, wheel_fault: str = ""
) -> tuple[str, str]:
    """Return the engine of the child server, `xllamacpp` or `llama-server`, and why it is this one.

    Args:
        settings: LLM_SERVICE counts.
        cpu: This machine's.
        has_wheel: The `xllamacpp` package is installed.
        has_binary: `llama-server` is on this machine.
        wheel_fault: Why the package's trial failed, in words; "" when it works.

    Raises:
        ConfigError: The one that is asked for, or any, cannot run here; the hint says how to get one.
    """
    wants = settings.llm_service
    others = ", ".join(("auto", *(name for name, spec in ENGINES.items() if spec.trial is None)))
    missing = cpu.missing(ENGINES[PREBUILT].requires_cpu)
    lacks = f"this CPU lacks {', '.join(missing)}, which the prebuilt engine needs"
    if wants == "xllamacpp" and missing:
        raise ConfigError("cpu-too-old", f"LLM_SERVICE=xllamacpp: {lacks}; valid here: {others}")
    if wants == "xllamacpp" and not has_wheel:
        raise ConfigError(
            "engine-missing",
            "xllamacpp is not installed",
            hint=f"pip install 'twin[{ENGINES[PREBUILT].extra}]'",
        )
    if wants == "xllamacpp" and wheel_fault:
        raise ConfigError(
            "engine-dies",
            f"LLM_SERVICE=xllamacpp: {wheel_fault}; valid here: {others}",
            hint=REMEDY,
        )
    if wants != "llama-server" and has_wheel and not missing and not wheel_fault:
        return "xllamacpp", "this CPU runs the prebuilt engine" if wants == "auto" else f"LLM_SERVICE={wants}"
    if has_binary:
        reason = lacks if missing else wheel_fault or "the prebuilt engine is not installed"
        return "llama-server", reason if wants == "auto" else f"LLM_SERVICE={wants}"
    fault = lacks if missing else wheel_fault
    reason = f"{fault}, and " if fault and wants == "auto" else ""
    raise ConfigError(
        "no-llm-engine",
        f"{reason}llama-server, built from source, is not here yet.",
        hint="Build it with: twin artifacts fetch llama.cpp",
        status=503,
    )


def _has_wheel() -> bool:
    return importlib.util.find_spec(PREBUILT) is not None


def built_llama_server(settings: Settings, catalogue: Catalogue) -> Path | None:
    """Return this machine's whole, built `llama-server`, or None."""
    artifacts = ArtifactStore(settings.cache_dir / "artifacts", catalogue)
    return artifacts.path(LLAMA_CPP, BUILT) if artifacts.is_present(LLAMA_CPP) else None
