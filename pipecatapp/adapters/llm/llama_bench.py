"""llama.cpp's `llama-bench`: how quickly a model reads and writes here.

It owns the program's arguments and the shape of its answer; which model, and what becomes of the numbers, is
its callers' business.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipecatapp.adapters.llm.server_process import WAITING_VARIABLES
from pipecatapp.errors import AdapterError
from pipecatapp.exit_status import describe_exit
from pipecatapp.settings import child_environment

TIMEOUT_S = 1800.0
"""Longest run (seconds): a 1.5B model that a Core 2 Duo reads at 2 tokens/s."""
TAIL_CHARS = 400
"""How much of what a program that failed said is told."""


@dataclass(frozen=True, slots=True)
class BenchSize:
    """How much is read and written.

    Args:
        prompt_tokens: Length of the prompt, > 0.
        answer_tokens: Length of the answer, > 0.
        repeats: How often each, > 0.
    """

    prompt_tokens: int = 128
    answer_tokens: int = 32
    repeats: int = 5


@dataclass(frozen=True, slots=True)
class BenchSpeed:
    """How quick a model was.

    Args:
        threads: CPU threads.
        prefill_tokens_s: Each run of the prompt (tokens a second).
        decode_tokens_s: Each run of the answer (tokens a second).
    """

    threads: int
    prefill_tokens_s: tuple[float, ...]
    decode_tokens_s: tuple[float, ...]

    @property
    def best_prefill(self) -> float:
        """The quickest run: whatever else the machine does only makes one slower."""
        return max(self.prefill_tokens_s)

    @property
    def best_decode(self) -> float:
        """The quickest run."""
        return max(self.decode_tokens_s)


def bench_command(program: Path, model: Path, threads: Sequence[int], size: BenchSize) -> list[str]:
    """Return the command."""
    return [
        str(program), "-m", str(model), "-t", ",".join(map(str, threads)),
        "-p", str(size.prompt_tokens), "-n", str(size.answer_tokens), "-r", str(size.repeats), "-o", "json",
    ]  # fmt: skip


def run_bench(
    program: Path,
    model: Path,
    threads: Sequence[int],
    size: BenchSize | None = None,
    *,
    timeout_s: float = TIMEOUT_S,
) -> list[BenchSpeed]:
    """Run the program and return the speeds, in the order of `threads`.

    Raises:
        AdapterError: It cannot be started, fails, takes longer than `timeout_s`, or says something else.
    """
    command = bench_command(program, model, threads, size or BenchSize())
    try:
        done = subprocess.run(
            command,
            env=child_environment(without=WAITING_VARIABLES),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except OSError as exc:
        raise AdapterError("bench-start", f"{program} cannot be started: {exc.strerror}.") from exc
    except subprocess.TimeoutExpired as exc:
        raise AdapterError("bench-slow", f"{program.name} took longer than {timeout_s:.0f} s.") from exc
    if done.returncode:
        why = describe_exit(done.returncode)
        raise AdapterError(
            "bench-failed", f"{program.name} ended by {why}: {done.stderr.strip()[-TAIL_CHARS:]}"
        )
    return _speeds(done.stdout, threads)


def _speeds(text: str, threads: Sequence[int]) -> list[BenchSpeed]:
    try:
        rows: list[dict[str, Any]] = json.loads(text)
        return [
            BenchSpeed(
                count,
                tuple(_samples(rows, count, "n_prompt")),
                tuple(_samples(rows, count, "n_gen")),
            )
            for count in threads
        ]
    except (ValueError, KeyError, StopIteration, TypeError) as exc:
        raise AdapterError(
            "bench-nonsense", f"llama-bench said something unknown: {text[:TAIL_CHARS]}"
        ) from exc


def _samples(rows: Sequence[dict[str, Any]], threads: int, kind: str) -> list[float]:
    row = next(row for row in rows if row["n_threads"] == threads and row[kind])
    return [float(sample) for sample in row["samples_ts"]]
