"""What every `Embedder` does.

It owns the claims. Subclass `EmbedderSuite` and give a fixture `embedder`.
"""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from pipecatapp.errors import AdapterError
from pipecatapp.ports import Embedder

FACTS = [
    "The user's dog is called Biscuit.",
    "The user lives in Vienna.",
    "Water boils at a hundred degrees.",
]
QUESTIONS = [
    "What is the dog called?",
    "In which city does the user live in Vienna?",
    "When does water boil?",
]
SAME = 0.98
"""Cosine of a text's vector alone and in a batch: quantised models differ by their padding."""


class EmbedderSuite:
    async def test_is_an_embedder_with_a_name(self, embedder: Embedder) -> None:
        assert isinstance(embedder, Embedder)
        assert embedder.name

    async def test_rows_are_unit_vectors(self, embedder: Embedder) -> None:
        vectors = await embedder.embed([*FACTS, "", "word " * 2000, "日本語 🙂"])
        assert vectors.shape == (len(FACTS) + 3, embedder.dimensions)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-3)

    async def test_no_texts_are_no_rows(self, embedder: Embedder) -> None:
        assert (await embedder.embed([])).shape == (0, embedder.dimensions)

    async def test_a_question_is_nearest_its_fact(self, embedder: Embedder) -> None:
        facts, questions = await embedder.embed(FACTS), await embedder.embed(QUESTIONS)
        assert (questions @ facts.T).argmax(axis=1).tolist() == [0, 1, 2]

    async def test_a_batch_is_its_texts(self, embedder: Embedder) -> None:
        texts = FACTS * 12
        together = await embedder.embed(texts)
        alone = await asyncio.gather(*(embedder.embed([text]) for text in FACTS))
        for index in range(len(texts)):
            assert float(together[index] @ alone[index % len(FACTS)][0]) > SAME

    async def test_a_closed_one_refuses(self, embedder: Embedder) -> None:
        await embedder.close()
        await embedder.close()
        with pytest.raises(AdapterError):
            await embedder.embed(["hello"])
