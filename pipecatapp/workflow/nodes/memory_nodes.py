"""Nodes of the long-term memory: recall, notice, save.

It owns which of the user's words are worth keeping and how a kept fact is put to a model; where facts
live and how they are found is the store's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from pydantic import Field

from pipecatapp.events import MemoryRecalled, MemorySaved
from pipecatapp.understanding.utterance_rules import (
    as_fact,
    is_about_user,
    is_question,
    is_request,
    sentences,
    to_you,
)
from pipecatapp.workflow.node import Node, NodeConfig, NodeRun, known_prompt
from pipecatapp.workflow.port_types import Names
from pipecatapp.workflow.prompts import PromptLibrary
from pipecatapp.workflow.services import NodeServices


@dataclass(frozen=True, slots=True)
class RecallInputs:
    """What the facts should be about."""

    query: str


@dataclass(frozen=True, slots=True)
class RecallOutputs:
    """What is known, said to the user ("Your dog is called Biscuit."), best first; may be empty.

    Args:
        facts: The facts.
        has_facts: Whether there are any.
        best: The nearest one, or "".
        best_score: How near it is, -1 to 1; -1 without any.
    """

    facts: Names
    has_facts: bool
    best: str
    best_score: float


class RecallConfig(NodeConfig):
    """How much to recall."""

    limit: int = Field(3, ge=1, le=50)
    """Facts at most."""
    min_score: float = Field(0.3, ge=-1, le=1)
    """Similarity below which a fact has nothing to do with the query."""
    max_gap: float = Field(2.0, ge=0, le=2)
    """How much less near than the nearest a further fact may be; a small model mixes up what it is told."""


class MemoryRecallNode(Node[RecallInputs, RecallOutputs, RecallConfig]):
    """Looks up what is known about a query."""

    type_name = "memory_recall"
    waits_on_outside = True

    async def run(self, inputs: RecallInputs, run: NodeRun) -> RecallOutputs:
        """Search the store."""
        found = await run.services.memory.search(inputs.query, limit=self.config.limit)
        best = max((fact.score for fact in found), default=0.0)
        least = max(self.config.min_score, best - self.config.max_gap)
        near = tuple(fact.text for fact in found if fact.score >= least)
        if near:
            run.raise_event(MemoryRecalled(turn_id=run.context.turn_id, facts=near))
        said = tuple(to_you(text) for text in near)
        return RecallOutputs(said, bool(near), said[0] if said else "", best if said else -1.0)


@dataclass(frozen=True, slots=True)
class ExtractFactsInputs:
    """What the user said."""

    text: str


@dataclass(frozen=True, slots=True)
class ExtractFactsOutputs:
    """Sentences worth keeping; skipped without any.

    Args:
        is_all: Whether the user said nothing else.
        facts: As they are kept.
        said_back: The same, said to the user.
    """

    is_all: bool
    facts: Names | None
    said_back: Names | None


class ExtractFactsConfig(NodeConfig):
    """What a fact looks like."""

    facts: str
    """Prompt file with sentences that are worth keeping, one a line."""
    negatives: str
    """Prompt file with sentences that are not."""
    min_score: float = Field(0.35, ge=-1, le=1)
    """Similarity to the examples below which a sentence is not kept."""


class ExtractFactsNode(Node[ExtractFactsInputs, ExtractFactsOutputs, ExtractFactsConfig]):
    """Finds what users say about themselves: by form first, then by nearness to examples.

    A sentence is kept when it asks to be ("Remember that ..."), or when it is a statement about the user
    that is nearer to the examples of facts than to the negatives.
    """

    type_name = "extract_facts"
    waits_on_outside = True

    @classmethod
    def check_config(cls, config: NodeConfig, prompts: PromptLibrary) -> None:
        """Check that the files exist."""
        config = cast(ExtractFactsConfig, config)
        known_prompt(prompts, "facts", config.facts)
        known_prompt(prompts, "negatives", config.negatives)

    async def warm(self, services: NodeServices) -> None:
        """Embed the examples."""
        await services.classifier.warm(self._examples(services))

    async def run(self, inputs: ExtractFactsInputs, run: NodeRun) -> ExtractFactsOutputs:
        """Look at each sentence."""
        said = sentences(inputs.text)
        kept = tuple([as_fact(each) for each in said if await self._is_fact(each, run.services)])
        said_back = tuple(to_you(fact) for fact in kept)
        return ExtractFactsOutputs(0 < len(kept) == len(said), kept or None, said_back or None)

    async def _is_fact(self, sentence: str, services: NodeServices) -> bool:
        if is_request(sentence):
            return True
        if not is_about_user(sentence) or is_question(sentence):
            return False
        best = (await services.classifier.classify(sentence, self._examples(services)))[0]
        return best.label == "fact" and best.score >= self.config.min_score

    def _examples(self, services: NodeServices) -> dict[str, tuple[str, ...]]:
        prompts = services.prompts
        return {"fact": prompts.lines(self.config.facts), "other": prompts.lines(self.config.negatives)}


@dataclass(frozen=True, slots=True)
class SaveInputs:
    """Sentences to keep."""

    facts: Names


@dataclass(frozen=True, slots=True)
class SaveOutputs:
    """Ids of the kept facts."""

    ids: Names


class SaveConfig(NodeConfig):
    """How much to keep."""

    limit: int = Field(5, ge=1, le=50)
    """Facts of one turn at most."""


class MemorySaveNode(Node[SaveInputs, SaveOutputs, SaveConfig]):
    """Keeps facts for good, once the turn is certain."""

    type_name = "memory_save"
    has_effect = True
    waits_on_outside = True

    async def run(self, inputs: SaveInputs, run: NodeRun) -> SaveOutputs:
        """Wait for the turn, then write."""
        await run.confirmed()
        ids = []
        for text in inputs.facts[: self.config.limit]:
            fact = await run.services.memory.add_fact(text, session_id=run.context.session_id)
            run.raise_event(MemorySaved(fact_id=fact.id, text=fact.text))
            ids.append(fact.id)
        return SaveOutputs(tuple(ids))
