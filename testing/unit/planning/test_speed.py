from __future__ import annotations

import pytest

from pipecatapp.artifacts.model_schema import ModelShape
from pipecatapp.planning.speed import (
    MEMORY_PART,
    RPC_S,
    code_path,
    expected_alone,
    expected_split,
)
from testing.unit.planning.machines import AVX2, SMALL_SHAPE, model, node

pytestmark = pytest.mark.unit


def shape(megabytes: int) -> ModelShape:
    found = model("m", megabytes=megabytes).shape
    assert found is not None
    return found


def test_the_small_model_is_expected_as_it_was_measured() -> None:
    speed = expected_alone(SMALL_SHAPE, SMALL_SHAPE, node(decode=100, prefill=200))
    assert (speed.prefill_tokens_s, speed.decode_tokens_s) == (200, 100)


def test_a_model_of_twice_the_size_is_half_as_quick() -> None:
    speed = expected_alone(shape(200), SMALL_SHAPE, node(decode=100, prefill=200))
    assert speed.decode_tokens_s == pytest.approx(50)
    assert speed.prefill_tokens_s == pytest.approx(100)


def test_an_answer_is_no_quicker_than_memory_is_read() -> None:
    # The small model lies in the cache: 100 tokens/s of 100 MB are more than the memory's 5000 MB/s.
    speed = expected_alone(shape(1000), SMALL_SHAPE, node(decode=100, memory_read_mb_s=5000))
    assert speed.decode_tokens_s == pytest.approx(5 * MEMORY_PART)


def test_the_first_word_waits_for_the_prompt_and_one_token() -> None:
    speed = expected_alone(SMALL_SHAPE, SMALL_SHAPE, node(decode=10, prefill=100))
    assert speed.first_word_s(200) == pytest.approx(2.1)


def test_split_over_equals_it_is_slower_by_the_way_to_each_worker() -> None:
    alone = expected_alone(shape(1000), SMALL_SHAPE, node())
    split = expected_split(shape(1000), SMALL_SHAPE, [node("a"), node("b")])
    way_s = 2 * (2 * 1000 * 4 * 8 / 1e9 + RPC_S)
    assert 1 / split.decode_tokens_s - 1 / alone.decode_tokens_s == pytest.approx(way_s)
    assert split.prefill_tokens_s < alone.prefill_tokens_s


def test_a_slow_worker_counts_for_its_part() -> None:
    quick, slow = node("a", decode=100), node("b", decode=50)
    split = expected_split(shape(100), SMALL_SHAPE, [quick, slow])
    assert 1 / split.decode_tokens_s == pytest.approx(0.005 + 0.01 + 2 * RPC_S, rel=0.01)


def test_a_slow_card_makes_a_split_slower() -> None:
    def split(link_mbit_s: int | None) -> float:
        workers = [node("a", link_mbit_s=link_mbit_s), node("b", link_mbit_s=link_mbit_s)]
        return expected_split(shape(1000), SMALL_SHAPE, workers).decode_tokens_s

    assert split(1000) > split(100)
    assert split(None) == split(100)


@pytest.mark.parametrize(
    ("flags", "path"),
    [
        (("sse2",), "x64"),
        (("sse2", "ssse3", "sse4_1"), "x64"),
        (("sse2", "sse4_2", "avx"), "avx"),
        (("sse2", "sse4_2", "avx", "avx2"), "avx"),
        (AVX2, "avx2"),
        ((*AVX2, "avx512f"), "avx2"),
        ((*AVX2, "avx512f", "avx512bw", "avx512vl"), "avx512"),
    ],
)
def test_a_cpu_runs_the_code_that_it_has_every_feature_of(flags: tuple[str, ...], path: str) -> None:
    assert code_path(flags) == path


def test_how_weights_are_packed_counts() -> None:
    packed = model("m", megabytes=1000, packing="q4_k").shape
    assert packed is not None
    assert (
        expected_alone(packed, SMALL_SHAPE, node()).decode_tokens_s
        > expected_alone(shape(1000), SMALL_SHAPE, node()).decode_tokens_s
    )
