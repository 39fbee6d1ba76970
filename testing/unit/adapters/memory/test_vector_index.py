"""Both indexes find the same."""

from __future__ import annotations

import numpy as np
import pytest

from pipecatapp.adapters.host.cpu import CpuInfo
from pipecatapp.adapters.memory.vector_index import NumpyIndex, open_index

pytestmark = pytest.mark.unit

CORE2 = CpuInfo(
    model="Core 2 Duo T7700", flags=frozenset({"ssse3"}), cores=2, memory_mb=8000, available_mb=6000
)
PENRYN = CpuInfo(
    model="Core 2 Duo E8400", flags=frozenset({"ssse3", "sse4_1"}), cores=2, memory_mb=8000, available_mb=6000
)


def unit_rows(count: int) -> np.ndarray:
    rows = np.random.default_rng(3).normal(size=(count, 16)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_faiss_is_left_alone_where_it_would_crash() -> None:
    assert isinstance(open_index(16, CORE2), NumpyIndex)
    assert not isinstance(open_index(16, PENRYN), NumpyIndex)


def test_both_find_the_same_places_and_scores() -> None:
    rows, asked = unit_rows(200), unit_rows(5)
    answers = []
    for cpu in (CORE2, PENRYN):
        index = open_index(16, cpu)
        index.add(rows[:120])
        index.add(rows[120:])
        answers.append(index.search(asked, 7))
    np.testing.assert_array_equal(answers[0][1], answers[1][1])
    np.testing.assert_allclose(answers[0][0], answers[1][0], atol=1e-5)


@pytest.mark.parametrize("cpu", [CORE2, PENRYN])
def test_more_than_there_are_cannot_be_found(cpu: CpuInfo) -> None:
    index = open_index(16, cpu)
    index.add(unit_rows(3))
    assert index.search(unit_rows(1), 3)[1].shape == (1, 3)
