"""Exact search among unit vectors: by FAISS, or by NumPy where FAISS would crash.

It owns which of the two a CPU can run; what the vectors stand for is `sqlite_faiss`'s business.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipecatapp.adapters.host.cpu import CpuInfo, read_cpu
from pipecatapp.ports import Vectors

FAISS_FLAGS = ("sse4_1",)
"""What faiss-cpu's wheels are compiled for at least; on less they end in SIGILL."""


class VectorIndex(Protocol):
    """Vectors by place, in the order in which they were added."""

    def add(self, vectors: Vectors) -> None:
        """Append rows."""
        ...

    def search(self, vectors: Vectors, limit: int) -> tuple[Vectors, npt.NDArray[np.int64]]:
        """Return, for each row of `vectors`, the inner products and the places of the `limit` best."""
        ...


class NumpyIndex:
    """One matrix product a search: 2 ms among 10 000 vectors of 384 numbers.

    Args:
        dimensions: Length of a vector, > 0.
    """

    def __init__(self, dimensions: int) -> None:
        self._rows = np.zeros((0, dimensions), np.float32)

    def add(self, vectors: Vectors) -> None:
        """Append rows."""
        self._rows = np.concatenate([self._rows, vectors.astype(np.float32)])

    def search(self, vectors: Vectors, limit: int) -> tuple[Vectors, npt.NDArray[np.int64]]:
        """Return, for each row of `vectors`, the inner products and the places of the `limit` best."""
        scores = vectors @ self._rows.T
        places = np.argsort(-scores, axis=1, kind="stable")[:, :limit].astype(np.int64)
        best: Vectors = np.take_along_axis(scores, places, axis=1)
        return best, places


class FaissIndex:
    """FAISS's exact index.

    Args:
        dimensions: Length of a vector, > 0.
    """

    def __init__(self, dimensions: int) -> None:
        import faiss

        # One search is a millisecond; faiss's own threads would only take cores from speech.
        faiss.omp_set_num_threads(1)
        self._index: Any = faiss.IndexFlatIP(dimensions)

    def add(self, vectors: Vectors) -> None:
        """Append rows."""
        self._index.add(np.ascontiguousarray(vectors, np.float32))

    def search(self, vectors: Vectors, limit: int) -> tuple[Vectors, npt.NDArray[np.int64]]:
        """Return, for each row of `vectors`, the inner products and the places of the `limit` best."""
        scores, places = self._index.search(
            np.ascontiguousarray(vectors, np.float32), min(limit, self._index.ntotal)
        )
        return scores, places


def open_index(dimensions: int, cpu: CpuInfo | None = None, *, uses_faiss: bool = True) -> VectorIndex:
    """Return an empty index.

    Args:
        dimensions: Length of a vector, > 0.
        cpu: What to choose by; this machine's when None.
        uses_faiss: Whether a trial has shown that FAISS works here (`app.trials`).
    """
    if not uses_faiss or (cpu or read_cpu()).missing(FAISS_FLAGS):
        return NumpyIndex(dimensions)
    return FaissIndex(dimensions)
