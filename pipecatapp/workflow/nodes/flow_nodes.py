"""Nodes that decide what happens next: classify_intent, branch and loop.

It owns the decisions; that nodes are skipped or repeated accordingly is the runner's doing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from pydantic import Field

from pipecatapp.errors import WorkflowRuntimeError
from pipecatapp.workflow.conditions import evaluate
from pipecatapp.workflow.node import (
    ConfigProblem,
    NoConfig,
    Node,
    NodeConfig,
    NodeRun,
    OpenInputs,
    OpenOutputs,
    Port,
    known_prompt,
)
from pipecatapp.workflow.prompts import PromptLibrary
from pipecatapp.workflow.services import NodeServices

TOOL_KIND = "tool"
"""The `kind` of a text that was routed to a tool."""


class IntentRule(NodeConfig):
    """A pattern that decides at once."""

    pattern: str
    """Regular expression, found anywhere in the text, upper or lower case."""
    label: str
    """A class, or a tool."""


class ClassifyIntentConfig(NodeConfig):
    """Between what to decide, and how."""

    classes: dict[str, str] = Field(min_length=1)
    """Class to the prompt file that holds its examples, one a line."""
    with_tools: bool = False
    """Whether each tool that has examples is a label too, and first of all one whose own rules are sure."""
    answer_tool: str = ""
    """Tool that only answers: its examples count for the class `default`."""
    rules: tuple[IntentRule, ...] = ()
    """Tried first, in order."""
    min_score: float = Field(0.0, ge=-1, le=1)
    """A label nearer than this wins; below it, `default` does."""
    margin: float = Field(0.0, ge=0, le=1)
    """By how much a tool must beat every class."""
    default: str
    """Class of what is near to nothing."""


@dataclass(frozen=True, slots=True)
class ClassifyIntentInputs:
    """What the user said."""

    text: str


@dataclass(frozen=True, slots=True)
class ClassifyIntentOutputs:
    """`kind` is a class or "tool"; `tool` is skipped when it is a class."""

    kind: str
    label: str
    score: float
    tool: str | None = None


class ClassifyIntentNode(Node[ClassifyIntentInputs, ClassifyIntentOutputs, ClassifyIntentConfig]):
    """Says what a text asks for, by rules and examples, without a model's help."""

    type_name = "classify_intent"
    waits_on_outside = True

    @classmethod
    def check_config(cls, config: NodeConfig, prompts: PromptLibrary) -> None:
        """Check patterns, labels and files."""
        config = cast(ClassifyIntentConfig, config)
        for name in config.classes.values():
            known_prompt(prompts, "classes", name)
        if config.default not in config.classes:
            raise ConfigProblem("default", f"no class; known: {', '.join(config.classes)}")
        for rule in config.rules:
            try:
                re.compile(rule.pattern)
            except re.error as exc:
                raise ConfigProblem("rules", f"pattern {rule.pattern!r} is wrong: {exc}") from exc
            if not config.with_tools and rule.label not in config.classes:
                raise ConfigProblem(
                    "rules", f"'{rule.label}' is no class; known: {', '.join(config.classes)}"
                )

    async def warm(self, services: NodeServices) -> None:
        """Embed the examples."""
        await services.classifier.warm(self._examples(services))

    async def run(self, inputs: ClassifyIntentInputs, run: NodeRun) -> ClassifyIntentOutputs:
        """Decide."""
        return await self.decide(inputs.text, run.services)

    async def decide(self, text: str, services: NodeServices) -> ClassifyIntentOutputs:
        """Return where `text` goes.

        Raises:
            AdapterError: The embedder failed.
        """
        tools = self._tools(services)
        for rule in self.config.rules:
            if (rule.label in tools or rule.label in self.config.classes) and re.search(
                rule.pattern, text, re.IGNORECASE
            ):
                return _routed(rule.label, 1.0, is_tool=rule.label in tools)
        for name in tools:
            if services.toolbox.parse_arguments(name, text) is not None:
                return _routed(name, 1.0, is_tool=True)
        scores = await services.classifier.classify(text, self._examples(services))
        best = scores[0]
        best_class = next(each for each in scores if each.label not in tools)
        if best.label in tools and best.score - best_class.score < self.config.margin:
            best = best_class
        if best.score < self.config.min_score:
            return _routed(self.config.default, best.score, is_tool=False)
        return _routed(best.label, best.score, is_tool=best.label in tools)

    def _examples(self, services: NodeServices) -> dict[str, tuple[str, ...]]:
        examples = {label: services.prompts.lines(name) for label, name in self.config.classes.items()}
        for name, texts in self._tools(services).items():
            examples[name] = texts
        if self.config.answer_tool and self.config.with_tools:
            for spec in services.toolbox.specs():
                if spec.name == self.config.answer_tool:
                    examples[self.config.default] += spec.examples
        return {label: texts for label, texts in examples.items() if texts}

    def _tools(self, services: NodeServices) -> dict[str, tuple[str, ...]]:
        """Return the tools that are labels, in the toolbox's order, with their examples."""
        specs = services.toolbox.specs() if self.config.with_tools else ()
        return {spec.name: spec.examples for spec in specs if spec.name != self.config.answer_tool}


def _routed(label: str, score: float, *, is_tool: bool) -> ClassifyIntentOutputs:
    kind = TOOL_KIND if is_tool else label
    return ClassifyIntentOutputs(kind=kind, label=label, score=score, tool=label if is_tool else None)


class BranchConfig(NodeConfig):
    """What to compare with."""

    equals: str | bool | float
    """The value that goes to `then`."""


@dataclass(frozen=True, slots=True)
class BranchInputs:
    """What decides, and what is passed on; without `value`, what decides is passed on."""

    on: object
    value: object = None


@dataclass(frozen=True, slots=True)
class BranchOutputs:
    """The value, on one of two ways."""

    then: object | None
    otherwise: object | None


class BranchNode(Node[BranchInputs, BranchOutputs, BranchConfig]):
    """Sends a value one of two ways; what reads the other way is skipped."""

    type_name = "branch"

    async def run(self, inputs: BranchInputs, run: NodeRun) -> BranchOutputs:
        """Compare and pass on."""
        value = inputs.on if inputs.value is None else inputs.value
        is_equal = inputs.on == self.config.equals
        return BranchOutputs(then=value if is_equal else None, otherwise=None if is_equal else value)


class LoopNode(Node[OpenInputs, OpenOutputs, NoConfig]):
    """Repeats its own nodes until its comparisons hold, at most `limit` times."""

    type_name = "loop"

    @classmethod
    def input_ports(cls, config: NodeConfig, prompts: PromptLibrary) -> None:
        """Return None: a file chooses a loop's inputs."""
        return

    @classmethod
    def output_ports(cls, config: NodeConfig, prompts: PromptLibrary) -> Mapping[str, Port]:
        """Return what every loop has; its body's outputs come on top."""
        return {"rounds": Port("integer"), "is_done": Port("flag")}

    async def run(self, inputs: OpenInputs, run: NodeRun) -> OpenOutputs:
        """Go round."""
        body = self.definition.body
        if body is None:
            raise WorkflowRuntimeError("no-body", f"Loop '{self.definition.id}' has no nodes.")
        given = dict(inputs.values) | {name: carry.first for name, carry in body.carry.items()}
        results: Mapping[str, object] = {}
        rounds, is_done = 0, False
        while rounds < body.limit and not is_done:
            results = await run.run_body(body, given)
            rounds += 1
            is_done = all(evaluate(each, results.get(str(each.source))) for each in body.until)
            for name, carry in body.carry.items():
                given[name] = results.get(str(carry.source), given[name])
        taken = {name: results.get(str(source)) for name, source in body.outputs.items()}
        return OpenOutputs(taken | {"rounds": rounds, "is_done": is_done})
