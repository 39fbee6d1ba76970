"""Nodes that put text together: prompts for a model, sentences for a person.

It owns how values become text. Prompts are files (`prompts/`), so that a workflow stays data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from pipecatapp.ports import Message
from pipecatapp.workflow.node import ConfigProblem, Node, NodeConfig, NodeRun, OpenInputs, Port, known_prompt
from pipecatapp.workflow.port_types import Messages
from pipecatapp.workflow.prompts import PromptLibrary, fill, placeholders

MAX_LINE_CHARS = 200
"""A text that stands in a workflow file is one line; a longer one is a prompt file."""


def format_value(value: object) -> str:
    """Return a value as it stands in a text; several sentences are separated by spaces."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | list):
        return " ".join(str(item) for item in value)
    return str(value)


def filled(template: str, values: Mapping[str, object]) -> str:
    """Fill `{placeholders}`; a line whose placeholders are all empty or not given is left out."""
    words = {name: format_value(value) for name, value in values.items()}
    lines = []
    for line in template.splitlines():
        names = placeholders(line)
        if not names or any(words.get(name) for name in names):
            lines.append(fill(line, {name: words.get(name, "") for name in names}))
    return "\n".join(lines).strip()


@dataclass(frozen=True, slots=True)
class PromptOutputs:
    """The prompt."""

    messages: Messages


class PromptConfig(NodeConfig):
    """Which files make the prompt."""

    system: str
    """Prompt that opens the conversation; it has no placeholders, so that a prompt cache keeps it."""
    few_shot: str = ""
    """Prompt with an exchange that every conversation begins with, as an example: lines that start with
    `user:` or `assistant:`, in turn; further lines belong to the message above."""
    user: str
    """Prompt for the last message; its placeholders are the node's inputs."""


class PromptNode(Node[OpenInputs, PromptOutputs, PromptConfig]):
    """System prompt, an example of a conversation, the conversation, a last message from a template.

    What changes from turn to turn stands only in the last message: everything before it is a prefix of
    the next turn's prompt, which the model's server need not read again.
    """

    type_name = "prompt"

    @classmethod
    def check_config(cls, config: NodeConfig, prompts: PromptLibrary) -> None:
        """Check that the files exist and the system prompt never changes."""
        config = cast(PromptConfig, config)
        if names := placeholders(known_prompt(prompts, "system", config.system)):
            message = f"prompt '{config.system}' must be constant, but has {{{names[0]}}}"
            raise ConfigProblem("system", message)
        if config.few_shot:
            text = known_prompt(prompts, "few_shot", config.few_shot)
            roles = [message.role for message in _exchange(text)]
            if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
                message = f"prompt '{config.few_shot}' must be of 'user:' and 'assistant:' in turn"
                raise ConfigProblem("few_shot", message)
        if not placeholders(known_prompt(prompts, "user", config.user)):
            raise ConfigProblem("user", f"prompt '{config.user}' has no {{placeholder}}")

    @classmethod
    def input_ports(cls, config: NodeConfig, prompts: PromptLibrary) -> Mapping[str, Port]:
        """Return the conversation and the template's placeholders."""
        names = placeholders(prompts.get(cast(PromptConfig, config).user))
        return {"history": Port("messages", is_required=False)} | {
            name: Port("any", is_required=False) for name in names
        }

    async def run(self, inputs: OpenInputs, run: NodeRun) -> PromptOutputs:
        """Put the messages together."""
        history = cast(Messages, inputs.values.get("history", ()))
        last = filled(run.services.prompts.get(self.config.user), inputs.values)
        return PromptOutputs(self.beginning(run.services.prompts, history, last))

    def beginning(self, prompts: PromptLibrary, history: Messages, last: str) -> Messages:
        """Return the messages of a prompt whose last one is `last`, or, so far, begins with it."""
        system = Message("system", prompts.get(self.config.system))
        few_shot = _exchange(prompts.get(self.config.few_shot)) if self.config.few_shot else ()
        return (system, *few_shot, *history, Message("user", last))


def _exchange(text: str) -> Messages:
    """Read messages from lines; what stands before the first role is left out."""
    messages: list[Message] = []
    for line in text.splitlines():
        role, mark, rest = line.partition(":")
        if mark and role in ("user", "assistant"):
            messages.append(Message("user" if role == "user" else "assistant", rest.strip()))
        elif messages and line.strip():
            last = messages.pop()
            messages.append(Message(last.role, f"{last.content}\n{line.strip()}"))
    return tuple(messages)


@dataclass(frozen=True, slots=True)
class TemplateOutputs:
    """The text."""

    text: str


class TemplateConfig(NodeConfig):
    """Either a line of text or a prompt file, with `{placeholders}` that are the node's inputs."""

    text: str = ""
    """One line."""
    prompt: str = ""
    """Name of a prompt file."""


class TemplateNode(Node[OpenInputs, TemplateOutputs, TemplateConfig]):
    """A text with values put in."""

    type_name = "template"

    @classmethod
    def check_config(cls, config: NodeConfig, prompts: PromptLibrary) -> None:
        """Check that there is exactly one text."""
        config = cast(TemplateConfig, config)
        if bool(config.text) == bool(config.prompt):
            raise ConfigProblem("text", "give either 'text' or 'prompt'")
        if "\n" in config.text or len(config.text) > MAX_LINE_CHARS:
            message = f"at most one line of {MAX_LINE_CHARS} characters; put a longer text into prompts/"
            raise ConfigProblem("text", message)
        if config.prompt:
            known_prompt(prompts, "prompt", config.prompt)

    @classmethod
    def input_ports(cls, config: NodeConfig, prompts: PromptLibrary) -> Mapping[str, Port]:
        """Return the placeholders."""
        names = placeholders(_template(cast(TemplateConfig, config), prompts))
        return {name: Port("any") for name in names}

    async def run(self, inputs: OpenInputs, run: NodeRun) -> TemplateOutputs:
        """Fill the template."""
        return TemplateOutputs(filled(_template(self.config, run.services.prompts), inputs.values))


class RegexMatchConfig(NodeConfig):
    """What to look for."""

    pattern: str
    """Regular expression, found anywhere in the text, upper or lower case."""


@dataclass(frozen=True, slots=True)
class RegexMatchInputs:
    """Where to look."""

    text: str


@dataclass(frozen=True, slots=True)
class RegexMatchOutputs:
    """Whether it is there."""

    found: bool


class RegexMatchNode(Node[RegexMatchInputs, RegexMatchOutputs, RegexMatchConfig]):
    """Says whether a text holds a pattern."""

    type_name = "regex_match"

    @classmethod
    def check_config(cls, config: NodeConfig, prompts: PromptLibrary) -> None:
        """Check the pattern."""
        try:
            re.compile(cast(RegexMatchConfig, config).pattern)
        except re.error as exc:
            raise ConfigProblem("pattern", f"is no regular expression: {exc}") from exc

    async def run(self, inputs: RegexMatchInputs, run: NodeRun) -> RegexMatchOutputs:
        """Look."""
        return RegexMatchOutputs(re.search(self.config.pattern, inputs.text, re.IGNORECASE) is not None)


def _template(config: TemplateConfig, prompts: PromptLibrary) -> str:
    return prompts.get(config.prompt) if config.prompt else config.text
