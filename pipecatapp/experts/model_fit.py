"""Whether a model fits a node and the RPC backends that lend it memory, and is fast enough.

It owns the decision, from numbers; measuring them, and trying a model out, is `ops.expert_supervisor`'s.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

BASE_TOKENS = 8192
"""Context that a model's `memory_mb` has in it: an expert's own two slots of 4096 tokens."""
SPLIT_MARGIN = 1.1
"""What a split model takes on its workers, for each MiB that it takes in one piece: each worker has buffers
of its own for computing (resident on two workers: 1.07 of SmolLM2 135M's 270 MiB, 0.7 of a 0.5B's, 0.6 of a
1.5B's)."""
HEAD_NODE_FRACTION = 0.25
"""Part of a split model's memory that the node with the server needs itself: the table of tokens and what it
computes with (resident: 0.24 of 135M's, 0.23 of a 0.5B's, 0.1 of a 1.5B's)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model of the list.

    Args:
        name: Its name in `models.yaml`.
        filename: Its file below the folder of models.
        sha256: What the file's bytes must hash to.
        memory_mb: What it takes in one piece, `BASE_TOKENS` of context included (mebibytes).
        requires_cpu: Flags of /proc/cpuinfo without which it is too slow or does not run.
        token_bytes: What each further token of context takes; 0 when nobody knows.
    """

    name: str
    filename: str
    sha256: str
    memory_mb: int
    requires_cpu: tuple[str, ...] = ()
    token_bytes: int = 0

    def with_context(self, tokens: int) -> ModelSpec:
        """Return it with the memory that it takes with the context of all slots together (tokens)."""
        return replace(self, memory_mb=with_context(self.memory_mb, self.token_bytes, tokens))


@dataclass(frozen=True, slots=True)
class MemoryBudget:
    """Memory and CPU that a model can run with.

    Args:
        here_mb: Memory that this node gives (mebibytes).
        workers_mb: Memory that each worker lends (mebibytes); empty for none.
        cpu_flags: What this node's CPU can do.
    """

    here_mb: int
    workers_mb: tuple[int, ...] = ()
    cpu_flags: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast a model was on a real prompt (tokens per second)."""

    prefill: float
    decode: float


@dataclass(frozen=True, slots=True)
class SpeedFloor:
    """How slow an expert may be that people listen to.

    Args:
        decode: Least tokens a second; 0 for any.
        first_word_s: Longest wait for the first word of an answer (seconds); 0 for any.
        prompt_tokens: Prompt that the first word is reckoned for.
    """

    decode: float = 0.0
    first_word_s: float = 0.0
    prompt_tokens: int = 200


def with_context(memory_mb: int, token_bytes: int, tokens: int) -> int:
    """Return the memory that a model takes with so much context (mebibytes).

    llama.cpp keeps a key and a value of every layer for each token, 2 bytes a number (`--cache-type-k`, f16),
    and takes the memory at the start: resident with 32768 tokens instead of 8192, SmolLM2 135M took 540 MiB
    more, and 23040 bytes a token are 540; 1.5B 673, and 28672 are 672.
    """
    return memory_mb + math.ceil(max(0, tokens - BASE_TOKENS) * token_bytes / 2**20)


def fit_error(candidate: ModelSpec, budget: MemoryBudget) -> str:
    """Return why a model does not fit in memory, in words; "" when it can."""
    missing = sorted(set(candidate.requires_cpu) - set(budget.cpu_flags))
    if missing:
        return f"this CPU lacks {', '.join(missing)}"
    if budget.workers_mb:
        lent, wanted = sum(budget.workers_mb), round(candidate.memory_mb * SPLIT_MARGIN)
        if wanted > lent:
            return f"it takes {wanted} MiB on its workers, and {len(budget.workers_mb)} lend {lent} MiB"
        wanted = round(candidate.memory_mb * HEAD_NODE_FRACTION)
        return (
            f"it takes {wanted} MiB here, and {budget.here_mb} MiB are free"
            if wanted > budget.here_mb
            else ""
        )
    if candidate.memory_mb > budget.here_mb:
        return f"it takes {candidate.memory_mb} MiB, and {budget.here_mb} MiB are free here"
    return ""


def speed_error(speed: Speed, floor: SpeedFloor) -> str:
    """Return why a model is too slow to be listened to, in words; "" when it is not."""
    first_word_s = floor.prompt_tokens / speed.prefill
    if floor.decode and speed.decode < floor.decode:
        return f"it says {speed.decode:.1f} tokens/s, and {floor.decode:g} are wanted"
    if floor.first_word_s and first_word_s > floor.first_word_s:
        return f"its first word takes {first_word_s:.1f} s, and {floor.first_word_s:g} are wanted"
    return ""


def tensor_split(workers_mb: Sequence[int]) -> str:
    """Return llama.cpp's `--tensor-split`: layers in proportion to the memory lent."""
    return ",".join(str(max(1, memory)) for memory in workers_mb)
