"""Embeddings of spelling.

It owns a hashed bag of words: texts that share words are near each other, and that is all it knows.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np

from pipecatapp.errors import AdapterError
from pipecatapp.ports import Vectors

_PLAIN = {"the", "a", "an", "is", "my", "of", "to", "what", "who", "where", "in", "and", "i"}


class FakeEmbedder:
    """Bag of words.

    Args:
        dimensions: Length of a vector, > 0.
        name: Its name; vectors of different names must not be mixed.
        error: Raised by every call, when set.
    """

    def __init__(
        self, dimensions: int = 64, *, name: str = "fake embedder", error: AdapterError | None = None
    ) -> None:
        self._dimensions = dimensions
        self._name = name
        self.error = error
        self.texts: list[str] = []
        self.is_closed = False

    @property
    def name(self) -> str:
        return self._name

    @property
    def dimensions(self) -> int:
        return self._dimensions

    async def embed(self, texts: Sequence[str]) -> Vectors:
        if self.is_closed:
            raise AdapterError("engine-closed", "the fake embedder is closed")
        if self.error is not None:
            raise self.error
        self.texts.extend(texts)
        vectors = np.zeros((len(texts), self._dimensions), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            row[0] = 1e-3  # a text without words has a direction too
            for word in re.findall(r"[a-z0-9]+", text.lower()):
                row[zlib.crc32(word.encode()) % self._dimensions] += 0.2 if word in _PLAIN else 1.0
            row /= np.linalg.norm(row)
        return vectors

    async def close(self) -> None:
        self.is_closed = True
