"""Profiles this node: its hardware once, and its model's speed as often as asked.

It owns where the programs, the models and the results are; the measurements are adapters', the profile's form
is `planning.profile`'s.
"""

from __future__ import annotations

import contextlib
import platform
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pipecatapp.adapters.host.benchmark import disk_read_mb_s, link_mbit_s, memory_read_mb_s
from pipecatapp.adapters.host.cpu import CpuInfo, read_cpu
from pipecatapp.adapters.llm.llama_bench import BenchSize, BenchSpeed, run_bench
from pipecatapp.adapters.llm.llama_variants import BENCH
from pipecatapp.app.llama_build import SMALL_MODEL, llama_program
from pipecatapp.app.local_llm import LLAMA_CPP, default_llm
from pipecatapp.app.models import model_store
from pipecatapp.app.trials import EngineTrials
from pipecatapp.artifacts.artifact_store import ArtifactStore
from pipecatapp.artifacts.model_store import ModelStore
from pipecatapp.errors import ArtifactError, ConfigError
from pipecatapp.files import write_atomic
from pipecatapp.planning.profile import (
    NOTED_FLAGS,
    NodeProfile,
    ThreadSpeed,
    expert_threads,
    measured_threads,
    read_profile,
)
from pipecatapp.settings import Settings

PROFILE_FILE = "node_profile.json"
BENCHMARKS = "benchmarks"

Say = Callable[[str], None]


def profile_path(settings: Settings) -> Path:
    """Return where this machine keeps its profile."""
    return settings.data_dir / PROFILE_FILE


def kept_profile(settings: Settings) -> NodeProfile | None:
    """Return the profile that this machine keeps, None when it has measured none.

    Raises:
        ConfigError: The file is no profile.
    """
    path = profile_path(settings)
    if not path.is_file():
        return None
    profile = read_profile(path)
    tried = EngineTrials(settings).set_aside()
    if profile.set_aside == tried:
        return profile
    # What was tried since is no reason to measure anew.
    profile = profile.model_copy(update={"set_aside": tried})
    with contextlib.suppress(ConfigError):
        write(path, profile.to_text())
    return profile


def measure(settings: Settings, say: Say, now: datetime, node: str = "") -> NodeProfile:
    """Measure this machine and keep the profile; it takes about a minute on an old one.

    Args:
        settings: Where things are.
        say: Told what is being measured.
        now: The time, UTC.
        node: The machine's name; its host name when empty.

    Raises:
        ArtifactError: The small model or llama-bench is not here.
        AdapterError: llama-bench failed.
        ConfigError: The profile cannot be written, or the name is none.
    """
    store = model_store(settings)
    program, version = find_bench(settings, store)
    model = store.path(SMALL_MODEL)
    trials = EngineTrials(settings)
    program = trials.llama.fitted(program, model)
    cpu = read_cpu()
    threads = measured_threads(cpu.cores)
    say("memory")
    memory = {count: memory_read_mb_s(count, cpu.available_mb) for count in threads}
    say(f"{SMALL_MODEL} in {BENCH}, with {', '.join(map(str, threads))} threads")
    speeds = run_bench(program, model, threads)
    say("disk and network")
    profile = NodeProfile(
        node=node or node_name(),
        measured_at=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        cpu_model=cpu.model,
        cores=cpu.cores,
        cpu_flags=tuple(flag for flag in NOTED_FLAGS if flag in cpu.flags),
        memory_mb=cpu.memory_mb,
        available_mb=cpu.available_mb,
        model=SMALL_MODEL,
        program=version,
        speeds=tuple(_speed(speed, memory[speed.threads]) for speed in speeds),
        disk_read_mb_s=_rounded(disk_read_mb_s(model)),
        link_mbit_s=link_mbit_s(),
        set_aside=trials.set_aside(),
    )
    write(profile_path(settings), profile.to_text())
    return profile


def _speed(speed: BenchSpeed, memory_read_mb_s: float) -> ThreadSpeed:
    return ThreadSpeed(
        threads=speed.threads,
        memory_read_mb_s=round(memory_read_mb_s),
        prefill_tokens_s=round(speed.best_prefill, 2),
        decode_tokens_s=round(speed.best_decode, 2),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def node_name() -> str:
    """Return this machine's host name, as a profile takes it."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", platform.node().partition(".")[0]).strip("-._")
    return name or "node"


def find_bench(settings: Settings, store: ModelStore) -> tuple[Path, str]:
    """Return the built llama-bench and its version in words.

    Raises:
        ArtifactError: There is none; the hint is the command that brings it.
    """
    artifact = store.catalogue.artifact(LLAMA_CPP)
    program = llama_program(settings, store, BENCH)
    if program is not None:
        return program, artifact.label
    artifacts = ArtifactStore(settings.cache_dir / "artifacts", store.catalogue)
    raise ArtifactError(
        "bench-absent",
        f"{BENCH} is not on this machine: neither below {artifacts.folder(LLAMA_CPP)} nor on PATH.",
        hint=f"Build it with: twin artifacts fetch {LLAMA_CPP}",
        status=503,
    )


class BenchRow(BaseModel):
    """How quick a model was with so many threads: best of its runs, and each.

    Args:
        threads: CPU threads.
        prefill_tokens_s: Best of the prompts (tokens a second).
        decode_tokens_s: Best of the answers (tokens a second).
        prefill_runs_tokens_s: Every prompt.
        decode_runs_tokens_s: Every answer.
    """

    model_config = ConfigDict(frozen=True)

    threads: int
    prefill_tokens_s: float
    decode_tokens_s: float
    prefill_runs_tokens_s: tuple[float, ...]
    decode_runs_tokens_s: tuple[float, ...]


class Benchmark(BaseModel):
    """How quick this machine's model was.

    Args:
        node: The machine's name.
        measured_at: When, in UTC.
        model: Its name in `models.yaml`.
        program: What ran it.
        prompt_tokens: Length of the prompt.
        answer_tokens: Length of the answer.
        rows: By number of threads.
    """

    model_config = ConfigDict(frozen=True)

    node: str
    measured_at: str
    model: str
    program: str
    prompt_tokens: int
    answer_tokens: int
    rows: tuple[BenchRow, ...]


def benchmark(
    settings: Settings, model: str, size: BenchSize, now: datetime, node: str = ""
) -> tuple[Benchmark, Path]:
    """Run llama-bench on a model of this machine, and keep the result by node and date.

    Args:
        settings: Where things are.
        model: Its name; "" for the one that this machine thinks with.
        size: How much is read and written.
        now: The time, UTC.
        node: The machine's name; its host name when empty.

    Returns:
        The result, and its file.

    Raises:
        AgentError: The model or the program is not here, or failed.
    """
    store, cpu = model_store(settings), read_cpu()
    name = model or default_llm(settings, store, cpu)
    program, version = find_bench(settings, store)
    path = store.path(name)
    program = EngineTrials(settings, cpu).llama.fitted(program, path)
    threads = tuple(sorted({_llm_threads(settings, cpu), cpu.cores}))
    speeds = run_bench(program, path, threads, size)
    result = Benchmark(
        node=node or node_name(),
        measured_at=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        model=name,
        program=version,
        prompt_tokens=size.prompt_tokens,
        answer_tokens=size.answer_tokens,
        rows=tuple(
            BenchRow(
                threads=speed.threads,
                prefill_tokens_s=round(speed.best_prefill, 2),
                decode_tokens_s=round(speed.best_decode, 2),
                prefill_runs_tokens_s=speed.prefill_tokens_s,
                decode_runs_tokens_s=speed.decode_tokens_s,
            )
            for speed in speeds
        ),
    )
    file = settings.data_dir / BENCHMARKS / result.node / f"{now.strftime('%Y-%m-%dT%H%M%SZ')}.json"
    write(file, result.model_dump_json(indent=1) + "\n")
    return result, file


def _llm_threads(settings: Settings, cpu: CpuInfo) -> int:
    return settings.llm_threads or expert_threads(cpu.cores)


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all.

    Raises:
        ConfigError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text.encode(), 0o666)
    except OSError as exc:
        raise ConfigError(
            "not-writable",
            f"{path} cannot be written: {exc.strerror}",
            hint="TWIN_DATA_DIR names its folder.",
        ) from exc
