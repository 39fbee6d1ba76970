"""Classifies a sentence by its nearest labelled examples, without an LLM.

It owns the comparison of a text with labelled examples, without an LLM, in a few milliseconds; which
labels there are and what follows from one is a workflow's business.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipecatapp.ports import Embedder, Vectors

NEIGHBOURS = 2
"""A label's score is the mean of this many nearest examples; one alone lets a single odd example decide.
It suits a dozen examples a label; experts, who have more, are compared by more (`expert_nodes`)."""

REMEMBERED_TEXTS = 32
"""Texts whose vectors are kept: one turn is classified several times, a speculated one again."""

REMEMBERED_LABELS = 128
"""Labels whose examples' vectors are kept: a workflow has some for each route node, and for the experts."""


@dataclass(frozen=True, slots=True)
class Score:
    """How near a text is to a label's examples: -1 to 1, 1 is the same text."""

    label: str
    score: float


class ExampleClassifier:
    """An example classifier: finds the nearest labelled examples by meaning.

    Args:
        embedder: Turns text to vectors.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._texts: OrderedDict[str, Vectors] = OrderedDict()
        self._examples: OrderedDict[tuple[str, ...], Vectors] = OrderedDict()

    async def warm(self, examples: Mapping[str, Sequence[str]]) -> None:
        """Embed examples ahead of the first question.

        Raises:
            AdapterError: The embedder failed.
        """
        for texts in examples.values():
            await self._vectors_of(tuple(texts))

    async def classify(
        self, text: str, examples: Mapping[str, Sequence[str]], *, neighbours: int = NEIGHBOURS
    ) -> list[Score]:
        """Return every label's score, best first.

        Args:
            text: What the user said.
            examples: Label to sentences that mean it; a label without any scores 0.
            neighbours: A label's score is the mean of this many nearest examples, > 0.

        Raises:
            AdapterError: The embedder failed.
        """
        vector = await self._vector_of(text)
        scores = []
        for label, texts in examples.items():
            near = np.sort(await self._vectors_of(tuple(texts)) @ vector)[-neighbours:] if texts else ()
            scores.append(Score(label, float(np.mean(near)) if len(near) else 0.0))
        return sorted(scores, key=lambda item: -item.score)

    async def _vector_of(self, text: str) -> Vectors:
        if text not in self._texts:
            self._texts[text] = (await self._embedder.embed([text]))[0]
            while len(self._texts) > REMEMBERED_TEXTS:
                self._texts.popitem(last=False)
        return self._texts[text]

    async def _vectors_of(self, texts: tuple[str, ...]) -> Vectors:
        if texts not in self._examples:
            self._examples[texts] = await self._embedder.embed(texts)
            while len(self._examples) > REMEMBERED_LABELS:
                self._examples.popitem(last=False)
        return self._examples[texts]
