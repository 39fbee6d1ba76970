"""The node that asks a model.

It owns what is asked for (free text, JSON of a schema, text of a grammar) and reading the answer; the
prompt is another node's, the connection the adapter's.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import Any, cast

from pydantic import Field

from pipecatapp.errors import WorkflowRuntimeError
from pipecatapp.events import AnsweredBy
from pipecatapp.ports import MAIN_EXPERT, ChatRequest
from pipecatapp.workflow.node import ConfigProblem, Node, NodeConfig, NodeRun, known_prompt
from pipecatapp.workflow.port_types import Json, Messages, TextStream
from pipecatapp.workflow.prompts import PromptLibrary


@dataclass(frozen=True, slots=True)
class LlmInputs:
    """What to answer, for JSON whose shape depends on the turn, which shape, and who is asked."""

    messages: Messages
    schema: Json | None = None
    expert: str | None = None


@dataclass(frozen=True, slots=True)
class LlmOutputs:
    """The answer as it grows, and, when it is constrained to JSON, its value."""

    text: TextStream | None = None
    value: Json | None = None


class LlmConfig(NodeConfig):
    """How to answer."""

    max_tokens: int = Field(160, ge=1, le=4096)
    """Bound of the answer."""
    temperature: float = Field(0.0, ge=0, le=2)
    """0 is greedy."""
    json_schema: dict[str, Any] | None = None
    """The answer is JSON of this schema."""
    grammar: str = ""
    """The answer matches the GBNF in this prompt file."""
    stop: tuple[str, ...] = ()
    """Texts that end the answer."""
    expert: str = MAIN_EXPERT
    """Who is asked when the input `expert` does not say; `main` answers for one that is not there."""


class LlmNode(Node[LlmInputs, LlmOutputs, LlmConfig]):
    """Asks a model once, and hands on its text while it comes."""

    type_name = "llm"
    waits_on_outside = True

    @classmethod
    def check_config(cls, config: NodeConfig, prompts: PromptLibrary) -> None:
        """Check that at most one constraint is given."""
        config = cast(LlmConfig, config)
        if config.grammar and config.json_schema is not None:
            raise ConfigProblem("grammar", "give either 'grammar' or 'json_schema'")
        if config.grammar:
            known_prompt(prompts, "grammar", config.grammar)

    async def run(self, inputs: LlmInputs, run: NodeRun) -> LlmOutputs:
        """Stream the answer."""
        schema = inputs.schema if inputs.schema is not None else self.config.json_schema
        request = ChatRequest(
            messages=inputs.messages,
            max_tokens=self.config.max_tokens,
            temperature=self.config.temperature,
            json_schema=schema,
            grammar=run.services.prompts.get(self.config.grammar) if self.config.grammar else None,
            stop=self.config.stop,
            session=run.context.session_id,
        )
        expert = inputs.expert or self.config.expert
        llm = run.services.llm if expert == MAIN_EXPERT else run.services.experts.client(expert)
        pieces: list[str] = []
        by = ""
        async with contextlib.aclosing(cast(Any, llm.stream(request))) as answer:
            async for delta in answer:
                if delta.source != by:
                    by = delta.source
                    run.raise_event(AnsweredBy(run.context.turn_id, by, delta.fallback_reason))
                piece = delta.text if pieces else delta.text.lstrip()
                if piece:
                    pieces.append(piece)
                    run.emit("text", piece)
        text = "".join(pieces)
        if not text.strip():
            raise WorkflowRuntimeError("empty-answer", "The model gave no answer.", retryable=True)
        return LlmOutputs(value=_parsed(text) if schema is not None else None)


def _parsed(text: str) -> Json:
    try:
        value = json.loads(text)
    except ValueError as exc:
        raise WorkflowRuntimeError("answer-not-json", "The model's JSON broke off.", retryable=True) from exc
    if not isinstance(value, dict):
        raise WorkflowRuntimeError("answer-not-json", "The model gave JSON that is no object.")
    return cast(Json, value)
