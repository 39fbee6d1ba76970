"""The node that decides which expert answers.

It owns the decision: by name, by patterns, by nearness to what experts say they are good at, or by asking a
model. Who there is, is behind the port `Experts`; asking the chosen one is the `llm` node's work.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal, cast

from pydantic import Field

from pipecatapp.events import ExpertChosen
from pipecatapp.ports import MAIN_EXPERT, ChatDelta, ChatRequest, Expert, Message
from pipecatapp.workflow.node import ConfigProblem, Node, NodeConfig, NodeRun, known_prompt
from pipecatapp.workflow.prompts import PromptLibrary, fill, placeholders
from pipecatapp.workflow.services import NodeServices

NEIGHBOURS = 8
"""An expert's score is the mean of this many nearest examples: of 1 to 16 it did best on the examples of
group_vars/experts.yaml, each left out in turn (`testing/bench/router.py --tune`)."""
NAME_TOKENS = 32
"""Bound of a model's answer: JSON with one name."""
SHOWN = 5
"""How many examples of each expert a model is shown. Told only what experts are for, one of half a billion
parameters is right on a third of the tuning requests, shown two on 61 of 100, shown five on 74; the prompt is
then about 1000 tokens for six experts, the same each time, so that the server has it in its cache."""

_ADDRESS = re.compile(
    r"\b(?:the|our|your|my)\s+((?:[\w-]+\s+){1,3}?)(?:expert|specialist)\b"
    r"|\b(?:expert|specialist)\s+(?:for|on|in)\s+((?:[\w-]+\s*){1,3})",
    re.IGNORECASE,
)


class ExpertRule(NodeConfig):
    """A pattern that decides at once."""

    pattern: str
    """Regular expression, found anywhere in the text, upper or lower case."""
    expert: str
    """Who is asked; passed over while there is no such expert, or it is not up."""


class RouteToExpertConfig(NodeConfig):
    """How to decide. An expert that is asked for by name, then the rules, go before each strategy."""

    strategy: Literal["examples", "rules", "model"] = "examples"
    """`examples`: nearest to what experts say they are good at, in milliseconds. `rules`: by name and rules
    only. `model`: the expert `main` names one, bound to the names there are."""
    rules: tuple[ExpertRule, ...] = ()
    """Tried in order."""
    min_score: float = Field(0.15, ge=-1, le=1)
    """Strategy `examples`: nobody is nearer than this, and `default` is asked."""
    margin: float = Field(0.02, ge=0, le=1)
    """Strategy `examples`: by how much an expert must beat `default`."""
    default: str = MAIN_EXPERT
    """Who is asked when nobody is clearly better."""
    prompt: str = "router"
    """Strategy `model`: its system prompt, with `{experts}`."""


@dataclass(frozen=True, slots=True)
class RouteToExpertInputs:
    """What the user said."""

    text: str


@dataclass(frozen=True, slots=True)
class RouteToExpertOutputs:
    """Who is asked, why (in words), and how near it is: -1 to 1, 1 for certain, 0 when none was compared."""

    expert: str
    reason: str
    score: float


class RouteToExpertNode(Node[RouteToExpertInputs, RouteToExpertOutputs, RouteToExpertConfig]):
    """Says which expert answers best; where `main` is alone it costs nothing."""

    type_name = "route_to_expert"
    waits_on_outside = True

    @classmethod
    def check_config(cls, config: NodeConfig, prompts: PromptLibrary) -> None:
        """Check patterns and prompt; experts come and go, so that any name may be written."""
        config = cast(RouteToExpertConfig, config)
        for rule in config.rules:
            try:
                re.compile(rule.pattern)
            except re.error as exc:
                raise ConfigProblem("rules", f"pattern {rule.pattern!r} is wrong: {exc}") from exc
        if config.strategy == "model" and "experts" not in placeholders(
            known_prompt(prompts, "prompt", config.prompt)
        ):
            raise ConfigProblem("prompt", f"prompt '{config.prompt}' has no {{experts}}")

    async def warm(self, services: NodeServices) -> None:
        """Embed the examples of who is there, once there is somebody to choose from."""
        experts = services.experts.all()
        if self.config.strategy == "examples" and len(experts) > 1:
            await services.classifier.warm(examples_of(experts))

    async def run(self, inputs: RouteToExpertInputs, run: NodeRun) -> RouteToExpertOutputs:
        """Decide, and tell when it is another than `main`."""
        chosen = await self.decide(inputs.text, run.services)
        if chosen.expert != MAIN_EXPERT:
            run.raise_event(
                ExpertChosen(run.context.turn_id, chosen.expert, chosen.reason, round(chosen.score, 3))
            )
        return chosen

    async def decide(self, text: str, services: NodeServices) -> RouteToExpertOutputs:
        """Return who answers `text`.

        Raises:
            AdapterError: The embedder or, by the strategy `model`, the model failed.
        """
        experts = services.experts.all()
        up = {expert.name for expert in experts if expert.is_up}
        default = self.config.default if self.config.default in up else MAIN_EXPERT
        if len(experts) == 1:
            return RouteToExpertOutputs(default, "there is nobody else", 0.0)
        if named := named_expert(text, [expert.name for expert in experts]):
            return self._if_up(named, "asked for by name", 1.0, up, default)
        for rule in self.config.rules:
            if rule.expert in up and re.search(rule.pattern, text, re.IGNORECASE):
                return RouteToExpertOutputs(rule.expert, "by a rule", 1.0)
        if self.config.strategy == "examples":
            return await self._by_examples(text, services, experts, default)
        if self.config.strategy == "model":
            return await self._by_model(text, services, experts, default)
        return RouteToExpertOutputs(default, "no rule fits", 0.0)

    async def _by_examples(
        self, text: str, services: NodeServices, experts: Sequence[Expert], default: str
    ) -> RouteToExpertOutputs:
        examples = examples_of(experts)
        if not examples.keys() - {default}:
            return RouteToExpertOutputs(default, "no other says what it is good at", 0.0)
        scores = await services.classifier.classify(text, examples, neighbours=NEIGHBOURS)
        best = scores[0]
        to_beat = next((each.score for each in scores if each.label == default), -1.0)
        if best.label == default:
            return RouteToExpertOutputs(default, "nearest to its examples", best.score)
        if best.score < self.config.min_score or best.score - to_beat < self.config.margin:
            return RouteToExpertOutputs(default, "nobody is clearly better", best.score)
        up = {expert.name for expert in experts if expert.is_up}
        return self._if_up(best.label, "nearest to its examples", best.score, up, default)

    async def _by_model(
        self, text: str, services: NodeServices, experts: Sequence[Expert], default: str
    ) -> RouteToExpertOutputs:
        up = [expert for expert in experts if expert.is_up]
        lines = "\n".join(f"- {expert.name}: {expert.description or expert.name}" for expert in up)
        system = fill(services.prompts.get(self.config.prompt), {"experts": lines})
        names = [expert.name for expert in up]
        request = ChatRequest(
            messages=(Message("system", system), *_shown(up), _user_message(text)),
            max_tokens=NAME_TOKENS,
            json_schema={
                "type": "object",
                "properties": {"expert": {"type": "string", "enum": names}},
                "required": ["expert"],
                "additionalProperties": False,
            },
        )
        answer = services.llm.stream(request)
        pieces = []
        async with aclosing(cast(AsyncGenerator[ChatDelta, None], answer)) as deltas:
            async for delta in deltas:
                pieces.append(delta.text)
        name = _name_in("".join(pieces))
        if name not in names:
            return RouteToExpertOutputs(default, "the model named nobody", 0.0)
        return RouteToExpertOutputs(name, "the model chose it", 1.0)

    def _if_up(
        self, name: str, reason: str, score: float, up: set[str], default: str
    ) -> RouteToExpertOutputs:
        if name in up:
            return RouteToExpertOutputs(name, reason, score)
        return RouteToExpertOutputs(default, f"{name} is not up ({reason})", score)


def examples_of(experts: Sequence[Expert]) -> Mapping[str, tuple[str, ...]]:
    """Return the texts that each expert is known by: its examples, or else its description.

    An expert that says nothing of itself is left out: it is asked by name only.
    """
    texts = {
        expert.name: expert.examples or ((expert.description,) if expert.description else ())
        for expert in experts
    }
    return {name: given for name, given in texts.items() if given}


def named_expert(text: str, names: Sequence[str]) -> str:
    """Return the expert that a text asks for ("Ask the math expert ..."), or "".

    Words are compared as they are said: `cyber security` is `cybersecurity`, and `maths` is `math`.
    """
    by_sound = {_sound(name): name for name in names}
    for match in _ADDRESS.finditer(text):
        words = (match[1] or match[2]).split()
        # The name ends before "expert", and begins after "expert for".
        spans = [words[at:] for at in range(len(words))] if match[1] else [
            words[:end] for end in range(len(words), 0, -1)
        ]  # fmt: skip
        for span in spans:
            said = _sound(" ".join(span))
            for sound in (said, said.removesuffix("s")):
                if sound in by_sound:
                    return by_sound[sound]
    return ""


def _sound(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()


def _shown(experts: Sequence[Expert]) -> list[Message]:
    """Return right answers to examples of each expert; rounds go to and fro, so that none is always last."""
    messages: list[Message] = []
    for turn in range(SHOWN):
        for expert in experts if turn % 2 == 0 else reversed(experts):
            if expert.examples:
                example = expert.examples[len(expert.examples) * (2 * turn + 1) // (2 * SHOWN)]
                messages += [
                    _user_message(example),
                    Message("assistant", json.dumps({"expert": expert.name})),
                ]
    return messages


def _user_message(text: str) -> Message:
    return Message("user", f"Request: {text}")


def _name_in(text: str) -> str:
    try:
        value = json.loads(text)
    except ValueError:
        return ""
    return str(value.get("expert", "")) if isinstance(value, dict) else ""
