"""Predicts a model's speed on a node from the measured speed of a small model.

It owns the formulas and their constants; docs/planning.md says how far they can be trusted, and
`testing/bench/plan.py` compares them with what is measured.

To write a token, every weight is read once, so a token takes its bytes by a rate; to read a prompt, every
weight of the layers is multiplied once for each token. Both rates are the node's own, from its small model,
times what the way of packing the weights makes of it in llama.cpp's code for that CPU.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pipecatapp.artifacts.model_schema import ModelShape, Packing
from pipecatapp.planning.profile import NodeProfile, expert_threads

CodePath = Literal["x64", "avx", "avx2", "avx512"]
"""Which of llama.cpp's builds for CPUs a node takes, as far as their speed differs (ggml/src/CMakeLists.txt,
GGML_CPU_ALL_VARIANTS)."""

AVX2_FLAGS = frozenset({"avx2", "bmi2", "f16c", "fma"})
"""What llama.cpp's `haswell` build and those above it are compiled for."""
AVX512_FLAGS = frozenset({"avx512f", "avx512bw", "avx512vl"})
"""What its `skylakex` build and those above it are compiled for."""

DECODE_FACTOR: Mapping[CodePath, Mapping[Packing, float]] = {
    "avx512": {"q4_1": 1.0, "q5_0": 1.33, "q4_k": 1.75},
    "avx2": {"q4_1": 1.0, "q5_0": 1.26, "q4_k": 1.70},
    "avx": {"q4_1": 1.0, "q5_0": 0.81, "q4_k": 0.73},
    "x64": {"q4_1": 1.0, "q5_0": 0.81, "q4_k": 0.73},
}
"""Bytes of weights a second while writing, for each of the small model's. Measured with llama.cpp 0.3.36 on
Qwen2.5-Coder 0.5B (q5_0) and 1.5B (q4_k) beside SmolLM2 135M (q4_1), one thread, on an AMD EPYC of 2024: with
all that the CPU can do, and with llama.cpp's `haswell` and `x64` builds. What is said of x64 stands for AVX
without AVX2 too, which was not measured."""
PREFILL_FACTOR: Mapping[CodePath, Mapping[Packing, float]] = {
    "avx512": {"q4_1": 1.0, "q5_0": 2.3, "q4_k": 4.4},
    "avx2": {"q4_1": 1.0, "q5_0": 1.1, "q4_k": 1.93},
    "avx": {"q4_1": 1.0, "q5_0": 0.69, "q4_k": 1.01},
    "x64": {"q4_1": 1.0, "q5_0": 0.69, "q4_k": 1.01},
}
"""Weights a second while reading, for each of the small model's; measured likewise. From AVX2 on llama.cpp
has a quicker way to multiply many tokens at once with q5_0 and q4_k, and none with q4_1."""

MEMORY_PART = 0.9
"""Part of the measured memory speed that a model's weights can be read with at best: beside them, tokens of
the conversation and results go over the same wires."""

RPC_S = 0.0079
"""What a token costs for each worker, besides computing (seconds): TinyLlama wrote 63 tokens/s on one machine
and 42 over gigabit Ethernet (github.com/ggml-org/llama.cpp, pull request 6829)."""
RESULT_BYTES = 4
"""Size of one of the numbers that a worker hands on for each of a model's width (float32)."""
UNKNOWN_LINK_MBIT_S = 100
"""What a card is taken for that does not tell its speed: the slowest that old desktops have."""


@dataclass(frozen=True, slots=True)
class Expected:
    """How quick a model would be.

    Args:
        prefill_tokens_s: Prompt (tokens a second).
        decode_tokens_s: Answer (tokens a second).
    """

    prefill_tokens_s: float
    decode_tokens_s: float

    def first_word_s(self, prompt_tokens: int) -> float:
        """Return the seconds to the first word: the prompt is read, and one token written."""
        return prompt_tokens / self.prefill_tokens_s + 1 / self.decode_tokens_s


def code_path(flags: Collection[str]) -> CodePath:
    """Return which code a CPU with these features runs."""
    if AVX2_FLAGS.issubset(flags):
        return "avx512" if AVX512_FLAGS.issubset(flags) else "avx2"
    return "avx" if "avx" in flags else "x64"


def expected_alone(
    model: ModelShape, small: ModelShape, node: NodeProfile, threads: int | None = None
) -> Expected:
    """Return how quick a model would be on one node.

    Args:
        model: Its shape.
        small: The shape of the model that the node measured.
        node: Its profile.
        threads: CPU threads; what an expert takes when None.
    """
    speed = node.at(expert_threads(node.cores) if threads is None else threads)
    path = code_path(node.cpu_flags)
    decode = speed.decode_tokens_s * small.read_bytes / model.read_bytes
    decode *= DECODE_FACTOR[path][model.packing] / DECODE_FACTOR[path][small.packing]
    # The small model may lie in a CPU's cache, a larger one does not.
    most = MEMORY_PART * speed.memory_read_mb_s * 1e6 / model.read_bytes
    prefill = speed.prefill_tokens_s * small.weights / model.weights
    prefill *= PREFILL_FACTOR[path][model.packing] / PREFILL_FACTOR[path][small.packing]
    return Expected(prefill, min(decode, most))


def expected_split(model: ModelShape, small: ModelShape, workers: Sequence[NodeProfile]) -> Expected:
    """Return how quick a model would be whose layers are in equal parts on workers.

    The layers are one after the other, so the times add up, and each worker adds the way to it and back.

    Args:
        model: Its shape.
        small: The shape of the model that the nodes measured.
        workers: Their profiles, at least one.
    """
    alone = [expected_alone(model, small, worker) for worker in workers]
    prefill_s = decode_s = 0.0
    for worker, speed in zip(workers, alone, strict=True):
        way_s = 2 * model.width * RESULT_BYTES / link_bytes_s(worker)
        prefill_s += 1 / speed.prefill_tokens_s / len(workers) + way_s
        decode_s += 1 / speed.decode_tokens_s / len(workers) + way_s + RPC_S
    return Expected(1 / prefill_s, 1 / decode_s)


def link_bytes_s(node: NodeProfile) -> float:
    """Return how much a node's card carries (bytes a second)."""
    return (node.link_mbit_s or UNKNOWN_LINK_MBIT_S) * 1e6 / 8
