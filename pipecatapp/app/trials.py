"""What native code this machine can run: before the agent depends on an engine, a child has used it.

It owns asking once; which engines there are, and what helps each on a CPU that shows more than it may use, is
in the tables of engines. Children are `child_trial`'s, what came of them is kept by
`adapters/host/trial_results`, llama.cpp's own libraries are `llama_variants`'.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import logging
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipecatapp.adapters.embed.engines import ENGINES as EMBEDDER_ENGINES
from pipecatapp.adapters.engine import EngineSpec, NativeTrial
from pipecatapp.adapters.host.child_trial import run_child
from pipecatapp.adapters.host.cpu import CpuInfo, read_cpu
from pipecatapp.adapters.host.trial_results import FOLDER, Outcome, TrialResults, this_machine
from pipecatapp.adapters.llm.engines import ENGINES as LLM_ENGINES
from pipecatapp.adapters.llm.llama_variants import LlamaVariants, is_of_a_build_here
from pipecatapp.adapters.llm.server_process import WAITING_VARIABLES
from pipecatapp.adapters.stt.engines import ENGINES as STT_ENGINES
from pipecatapp.adapters.tts.engines import ENGINES as TTS_ENGINES
from pipecatapp.errors import ConfigError
from pipecatapp.settings import Settings, set_for_libraries

log = logging.getLogger(__name__)

REMEDY = (
    "Give the (virtual) machine a CPU model that shows only what its system allows, or use another machine; "
    "then: twin trials --again"
)


# faiss/python/loader.py
_FAISS = ({"FAISS_OPT_LEVEL": "avx2"}, {"FAISS_OPT_LEVEL": "generic"})

_TABLES: tuple[Iterable[EngineSpec], ...] = (
    STT_ENGINES.values(),
    TTS_ENGINES.values(),
    EMBEDDER_ENGINES.values(),
    LLM_ENGINES.values(),
)
_OTHERS = (
    NativeTrial(
        name="silero",
        label="the voice detector Silero (ONNX Runtime)",
        part="stt",
        libraries={"onnxruntime": "onnxruntime", "pipecat": "pipecat-ai"},
    ),
    NativeTrial(name="faiss", label="FAISS", part="memory", libraries={"faiss": "faiss-cpu"}, steps=_FAISS),
)

NATIVES: Mapping[str, NativeTrial] = {
    trial.name: trial
    for trial in (*(spec.trial for table in _TABLES for spec in table), *_OTHERS)
    if trial is not None
}
"""Everything that is tried, by name: what the tables of engines want, and what no setting names."""
LLAMA = "llama.cpp"


class EngineTrials:
    """Asks whether an engine works here; the first time, a child finds out.

    Args:
        settings: TWIN_CACHE_DIR counts.
        cpu: This machine's; read when None.
    """

    def __init__(self, settings: Settings, cpu: CpuInfo | None = None) -> None:
        self._results = TrialResults(settings.cache_dir / FOLDER, this_machine(cpu or read_cpu()))
        self.llama = LlamaVariants(self._results)

    def engine_fault(self, name: str, model: Path = Path()) -> str:
        """Return why an engine of this process cannot be used, in words; "" when it can.

        What makes it work is set in this process, so that it must be asked before the engine is imported.

        Args:
            name: One of `NATIVES`.
            model: Its model's file or folder, where it has one.
        """
        build = _build(NATIVES[name].libraries, model)
        outcome = self._results.recall(name, build)
        if outcome is None:
            with self._results.one_at_a_time():
                outcome = self._results.recall(name, build) or self._try(name, build, model)
        set_for_libraries(outcome.environment)
        return _sentence(name, outcome)

    async def ask(self, name: str, model: Path = Path()) -> str:
        """Return `engine_fault` without holding the loop: a trial takes seconds."""
        return await asyncio.to_thread(self.engine_fault, name, model)

    async def require(self, name: str, use: str, model: Path = Path(), *, way_out: str = "") -> None:
        """See that an engine works here for which there is no other.

        Args:
            name: One of `NATIVES`.
            use: What needs it, as a sentence ends.
            model: Its model's file or folder, where it has one.
            way_out: A setting that does without, in a sentence.

        Raises:
            ConfigError: It does not.
        """
        reason = await self.ask(name, model)
        if reason:
            raise ConfigError("engine-dies", f"{reason}; {use}.", hint=f"{way_out} {REMEDY}".strip())

    def doubt(self, name: str, how: str) -> None:
        """Have an engine tried anew, for it died after its trial."""
        self._results.doubt(name, how)

    def forget(self) -> None:
        """Have everything tried anew."""
        self._results.forget()

    def tried(self) -> tuple[str, ...]:
        """Return what has been tried on this CPU under this kernel."""
        return tuple(sorted(self._current()))

    def set_aside(self) -> dict[str, str]:
        """Return what this machine does not use, or not in full, and why; it only reads."""
        told: dict[str, str] = {}
        for subject, outcome in self._current().items():
            told |= outcome.set_aside
            if outcome.reason and not outcome.set_aside:
                told[NATIVES[subject].label] = outcome.reason
        return told

    def notes(self) -> dict[str, str]:
        """Return a sentence for each part of the agent of which something is set aside."""
        notes: dict[str, list[str]] = {}
        for subject, outcome in self._current().items():
            part = NATIVES[subject].part if subject in NATIVES else "llm"
            told = [f"{name} is set aside: {why}" for name, why in outcome.set_aside.items()]
            notes.setdefault(part, []).extend([_sentence(subject, outcome)] if outcome.reason else told)
        return {part: "; ".join(told) for part, told in notes.items() if told}

    def _current(self) -> dict[str, Outcome]:
        """Return the outcomes without those of builds that are gone."""
        found = self._results.outcomes().items()
        return {
            name: outcome for name, outcome in found if name in NATIVES or is_of_a_build_here(name, outcome)
        }

    def _try(self, name: str, build: str, model: Path) -> Outcome:
        native = NATIVES[name]
        log.info("Trying an engine once on this CPU", extra={"engine": name})
        first = ""
        for environment in ({}, *native.steps):
            ending = run_child(
                [sys.executable, "-m", "pipecatapp.app.trial_child", name, str(model)],
                environment=environment,
                without=WAITING_VARIABLES,
            )
            if ending.is_well:
                outcome = self._lived(native, build, environment, first)
                break
            if not ending.fault:
                # Its adapter will say the same in words; nothing was learnt about the CPU.
                log.warning("An engine could not be tried", extra={"engine": name, "ending": ending.words})
                return Outcome(build=build)
            first = first or ending.fault
        else:
            outcome = Outcome(build=build, reason=f"it ended by {first}")
        self._results.keep(name, outcome)
        for what in (_sentence(name, outcome), *outcome.set_aside.values()):
            if what:
                log.warning(what)
        return outcome

    def _lived(self, native: NativeTrial, build: str, environment: Mapping[str, str], first: str) -> Outcome:
        if not environment:
            return Outcome(build=build)
        limits = ", ".join(f"{name}={value}" for name, value in environment.items())
        why = f"it ended by {first}; it works with {limits}"
        aside = {f"what {native.label} would use of this CPU": why}
        return Outcome(build=build, set_aside=aside, environment=dict(environment))


def _sentence(name: str, outcome: Outcome) -> str:
    """Return why a native engine cannot be used; "" when it can."""
    return f"{NATIVES[name].label} does not work on this CPU: {outcome.reason}" if outcome.reason else ""


def _build(libraries: Mapping[str, str], model: Path) -> str:
    """Return what changes with the libraries or the model, without importing anything."""
    parts = [model.name]
    for module, package in libraries.items():
        try:
            spec = importlib.util.find_spec(module)
            place = Path(spec.origin) if spec and spec.origin else Path("nowhere")
            parts.append(
                f"{package} {importlib.metadata.version(package)} {place} {place.stat().st_mtime_ns}"
            )
        except (ImportError, OSError, ValueError):
            parts.append(f"{package} absent")
    return "; ".join(parts)
