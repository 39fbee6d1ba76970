"""`twin trials`: what native code this machine was found to run, by trial.

It owns the command's arguments and lines; trying is `app.trials`'.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from pipecatapp.adapters.host.cpu import CpuInfo, read_cpu
from pipecatapp.adapters.llm.engines import ENGINES as LLM_ENGINES
from pipecatapp.adapters.llm.llama_variants import BENCH
from pipecatapp.adapters.memory.vector_index import FAISS_FLAGS
from pipecatapp.app.configuration import load_settings
from pipecatapp.app.engines import KINDS, Closable, EngineKind, model_names
from pipecatapp.app.llama_build import llama_program, trial_model
from pipecatapp.app.local_llm import default_llm
from pipecatapp.app.models import model_store
from pipecatapp.app.trials import NATIVES, EngineTrials
from pipecatapp.artifacts.model_store import ModelStore
from pipecatapp.errors import AgentError
from pipecatapp.settings import Settings

Line = tuple[str, str]
"""What was tried, and why it is set aside; "" when it works."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "trials",
        help="try the native engines on this CPU, and say which are set aside",
        description="Run one real operation of each native engine, and of llama.cpp, in a child process. "
        "What was tried on this CPU, kernel and build before is only shown.",
    )
    parser.add_argument("--again", action="store_true", help="try everything anew")
    parser.add_argument("--json", action="store_true", help="print JSON")
    # What runs a model's server under a service manager tells by these how it ended.
    parser.add_argument("--doubt", default="", metavar="WHAT", help=argparse.SUPPRESS)
    parser.add_argument("how", nargs="?", default="", help=argparse.SUPPRESS)
    parser.set_defaults(func=_trials)


def _trials(options: argparse.Namespace) -> int:
    settings = load_settings()
    trials = EngineTrials(settings)
    if options.doubt:
        doubt(trials, options.doubt, options.how)
        return 0
    if options.again:
        trials.forget()
        if bench := llama_program(settings, model_store(settings), BENCH):
            # Also where PATH leads to a folder that another user, such as root, has made for this CPU.
            trials.llama.doubt(bench, "somebody asked for another trial")
    lines = list(_tried(settings, trials))
    if options.json:
        print(json.dumps({"tried": dict(lines), "set_aside": trials.set_aside()}, indent=1))
        return 0
    for what, why in lines:
        print(f"{'works' if not why else 'set aside'}  {what}{': ' if why else ''}{why}")
    return 0


def doubt(trials: EngineTrials, what: str, how: str) -> None:
    """Have an engine, by its name, or the build of a program of llama.cpp, by its path, tried anew."""
    if what in NATIVES:
        trials.doubt(what, how)
    else:
        trials.llama.doubt(Path(what), how)


def _tried(settings: Settings, trials: EngineTrials) -> Iterator[Line]:
    """Try what this machine could use of what is here."""
    store, cpu = model_store(settings), read_cpu()
    yield NATIVES["silero"].label, trials.engine_fault("silero")
    if cpu.supports(FAISS_FLAGS):
        yield NATIVES["faiss"].label, trials.engine_fault("faiss")
    for kind in KINDS:
        yield from _tried_kind(kind, store, trials, cpu)
    try:
        main = store.path(default_llm(settings, store, cpu))
    except AgentError:
        main = None
    if main is not None and cpu.supports(LLM_ENGINES["xllamacpp"].requires_cpu):
        yield NATIVES["xllamacpp"].label, trials.engine_fault("xllamacpp", main)
    bench, model = llama_program(settings, store, BENCH), trial_model(settings, store, cpu)
    if bench is not None and model is not None:
        yield from _llama(trials, bench, model)


def _tried_kind(
    kind: EngineKind[Closable], store: ModelStore, trials: EngineTrials, cpu: CpuInfo
) -> Iterator[Line]:
    """Try the native engines of a port of which a model is here, each native code once."""
    done = set()
    for spec in kind.engines.values():
        if spec.trial is None or spec.trial.name in done or not cpu.supports(spec.requires_cpu):
            continue
        here = next((name for name in model_names(kind, spec, store) if store.is_present(name)), "")
        if here:
            done.add(spec.trial.name)
            yield spec.trial.label, trials.engine_fault(spec.trial.name, store.path(here))


def _llama(trials: EngineTrials, bench: Path, model: Path) -> Iterator[Line]:
    try:
        used = trials.llama.fitted(bench, model)
    except AgentError as exc:
        yield "llama.cpp", exc.message
        return
    yield f"llama.cpp, {used.parent}", ""
    yield from trials.llama.set_aside(bench).items()
