"""Embeddings: texts as unit vectors.

Not here: searching among vectors (`adapters/memory`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:  # importing NumPy is slow, and few commands need it
    import numpy as np
    import numpy.typing as npt

Vectors: TypeAlias = "npt.NDArray[np.float32]"
"""Shape (n, dimensions), rows of length 1."""


@runtime_checkable
class Embedder(Protocol):
    """Text to unit vectors."""

    @property
    def name(self) -> str:
        """Engine and model; vectors of different names must not be mixed."""
        ...

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        ...

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one unit vector a text.

        Raises:
            AdapterError: The engine failed.
        """
        ...

    async def close(self) -> None:
        """Free the model."""
        ...
