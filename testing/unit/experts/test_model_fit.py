"""Which model has room, and which is quick enough to be listened to."""

from __future__ import annotations

import pytest

from pipecatapp.experts.model_fit import (
    MemoryBudget,
    ModelSpec,
    Speed,
    SpeedFloor,
    fit_error,
    speed_error,
    tensor_split,
)
from pipecatapp.experts.service_names import RPC_PROVIDER, pool_of, rpc_memory_mb
from pipecatapp.ports import Endpoint

pytestmark = pytest.mark.unit

PHI = ModelSpec(name="phi", filename="phi.gguf", sha256="0" * 64, memory_mb=2000, requires_cpu=("avx2",))
FLAGS = ("sse4_1", "avx2")


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        (MemoryBudget(2000, (), FLAGS), ""),
        (MemoryBudget(1999, (), FLAGS), "it takes 2000 MiB, and 1999 MiB are free here"),
        (MemoryBudget(9000, (), ("sse4_1",)), "this CPU lacks avx2"),
        (MemoryBudget(500, (1100, 1100), FLAGS), ""),
        (MemoryBudget(500, (1000, 1000), FLAGS), "it takes 2200 MiB on its workers, and 2 lend 2000 MiB"),
        (MemoryBudget(499, (1100, 1100), FLAGS), "it takes 500 MiB here, and 499 MiB are free"),
    ],
)
def test_a_model_needs_room_and_a_cpu(budget: MemoryBudget, reason: str) -> None:
    assert fit_error(PHI, budget) == reason


def test_more_context_takes_more_memory() -> None:
    # Qwen3 4B: 36 layers, and 8 heads of 128 for keys and as many for values, 2 bytes each.
    large = ModelSpec(
        name="large",
        filename="large.gguf",
        sha256="0" * 64,
        memory_mb=3600,
        requires_cpu=(),
        token_bytes=36 * 2 * 8 * 128 * 2,
    )
    assert large.with_context(2 * 4096) == large
    longer = large.with_context(2 * 16384)
    assert longer.memory_mb == 3600 + 24576 * 147456 // 2**20 == 7056
    assert fit_error(longer, MemoryBudget(7000)) == "it takes 7056 MiB, and 7000 MiB are free here"


@pytest.mark.parametrize(
    ("speed", "reason"),
    [
        (Speed(prefill=20, decode=3), ""),
        (Speed(prefill=20, decode=2.9), "it says 2.9 tokens/s, and 3 are wanted"),
        (Speed(prefill=19, decode=3), "its first word takes 10.5 s, and 10 are wanted"),
    ],
)
def test_people_do_not_listen_to_what_is_too_slow(speed: Speed, reason: str) -> None:
    assert speed_error(speed, SpeedFloor(decode=3, first_word_s=10, prompt_tokens=200)) == reason


def test_without_a_budget_any_speed_will_do() -> None:
    assert speed_error(Speed(0.1, 0.1), SpeedFloor()) == ""


def test_layers_go_by_what_is_lent() -> None:
    assert tensor_split((1100, 550)) == "1100,550"


def test_a_worker_says_whose_it_is_and_what_it_lends() -> None:
    tags = (pool_of("creative"), "memory-mb=1100")
    worker = Endpoint(service=RPC_PROVIDER, id="w", node="attic", address="192.0.2.1", port=20000, tags=tags)
    assert pool_of("creative") == "pool=creative"
    assert rpc_memory_mb(worker) == 1100
    assert (
        rpc_memory_mb(
            Endpoint(
                service=RPC_PROVIDER,
                id="w",
                node="attic",
                address="192.0.2.1",
                port=20000,
                tags=("memory-mb=much",),
            )
        )
        == 0
    )
