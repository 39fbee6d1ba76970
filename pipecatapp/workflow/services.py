"""What nodes may use, and what one run is told about its turn.

It owns the two bundles that a caller hands to the engine; what is in them is behind the ports.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from pipecatapp.ports import Clock, Embedder, Experts, LlmClient, MemoryStore, ToolBox
from pipecatapp.understanding.example_classifier import ExampleClassifier
from pipecatapp.workflow.prompts import PromptLibrary


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeServices:
    """The outside, as the nodes of one session see it.

    Args:
        llm: The expert `main`.
        experts: Every expert by name, `main` among them.
        toolbox: The tools.
        memory: Long-term memory.
        embedder: Turns text to vectors.
        clock: Time.
        prompts: The prompts.
        classifier: Compares texts with examples.
    """

    llm: LlmClient
    experts: Experts
    toolbox: ToolBox
    memory: MemoryStore
    embedder: Embedder
    clock: Clock
    prompts: PromptLibrary
    classifier: ExampleClassifier


@dataclass(slots=True)
class RunContext:
    """One run's turn.

    Args:
        session_id: The conversation.
        turn_id: The turn that the run answers.
        confirmed: Set once the turn is certain. Until then the run is speculative: nodes read and think,
            but one that changes anything (saves a fact, calls a tool that needs approval) waits for it.
    """

    session_id: str
    turn_id: str
    confirmed: asyncio.Event = field(default_factory=asyncio.Event)
