"""What a tool is: one async function with typed arguments, and the schema derived from it.

It owns the `@tool` decorator, argument checking and the schema; limits are in `wrappers`, how tools are
found is in `registry`. A tool is written as a factory that takes deployment options and returns the
function that a model calls:

    @tool(examples=("Roll a die",))
    def dice(sides: int = 6) -> ToolFunction:
        async def execute(count: int = 1) -> str:
            (a Google-style docstring: what the model is told)
            ...
        return execute

The factory's name is the tool's; the docstring's first paragraph is its description. An argument of
type `ToolContext` is filled in by the toolbox and not shown to the model.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ParamSpec, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.fields import FieldInfo

from pipecatapp.errors import ToolRetry
from pipecatapp.ports import ToolResult, ToolSpec

P = ParamSpec("P")

DEFAULT_TIMEOUT_S = 10.0
"""Seconds that a tool may take: the longest that a caller stays on the line in silence."""
DEFAULT_OUTPUT_CHARS = 4000
"""Characters of a result that a model is told: about 1000 tokens, a quarter of the smallest context."""

Arguments = Mapping[str, Any]
ToolFunction = Callable[..., Awaitable["str | ToolResult"]]
"""What a factory returns; a plain text is a result whose words the model phrases."""
Extract = Callable[[str], "Arguments | None"]
"""Reads arguments from a user's words, or returns None when it is not sure."""


@dataclass(frozen=True, slots=True)
class ToolContext:
    """Who calls a tool."""

    session_id: str


ToolRun = Callable[[Arguments, ToolContext], Awaitable[ToolResult]]


def _no_rule(text: str) -> Arguments | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool, ready to be called.

    Args:
        spec: How a model and the router see it.
        run: Checks the arguments and does the work.
        extract: Rule that reads arguments from a user's words.
        timeout_s: Longest run (seconds, > 0).
        output_chars: Longest result that a model is told (characters, > 0).
    """

    spec: ToolSpec
    run: ToolRun
    extract: Extract = field(default=_no_rule)
    timeout_s: float = DEFAULT_TIMEOUT_S
    output_chars: int = DEFAULT_OUTPUT_CHARS

    @property
    def has_rule(self) -> bool:
        """Whether a rule reads arguments from a user's words."""
        return self.extract is not _no_rule


def tool(
    *,
    examples: Sequence[str],
    extract: Extract = _no_rule,
    needs_approval: bool = False,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    output_chars: int = DEFAULT_OUTPUT_CHARS,
) -> Callable[[Callable[P, ToolFunction]], Callable[P, Tool]]:
    """Make a factory of functions a factory of tools.

    Args:
        examples: Requests that call for it, for the router.
        extract: See `Tool`.
        needs_approval: True when it writes, runs code, spends money or leaves the house.
        timeout_s: See `Tool`.
        output_chars: See `Tool`.
    """

    def decorate(factory: Callable[P, ToolFunction]) -> Callable[P, Tool]:
        @wraps(factory)
        def build(*args: P.args, **kwargs: P.kwargs) -> Tool:
            function = factory(*args, **kwargs)
            name = factory.__name__
            description, help_texts = parse_docstring(inspect.getdoc(function) or "")
            model, context_name = _arguments_model(name, function, help_texts)
            spec = ToolSpec(
                name=name,
                description=description,
                parameters=schema_of(model),
                needs_approval=needs_approval,
                examples=tuple(examples),
            )
            run = _checked(name, function, model, context_name)
            return Tool(spec=spec, run=run, extract=extract, timeout_s=timeout_s, output_chars=output_chars)

        return build

    return decorate


def parse_docstring(text: str) -> tuple[str, dict[str, str]]:
    """Return a Google-style docstring's first paragraph, and its arguments' descriptions by name."""
    description = " ".join(text.split("\n\n", 1)[0].split())
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)+)", text, re.MULTILINE)
    help_texts: dict[str, str] = {}
    name = ""
    for line in section.group(1).splitlines() if section else ():
        entry = re.match(r" {4}(\w+): *(.*)", line)
        if entry:
            name = entry.group(1)
            help_texts[name] = entry.group(2).strip()
        elif name and line.strip():
            help_texts[name] += " " + line.strip()
    return description, help_texts


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of a model's arguments, without the titles that only cost tokens."""
    schema: dict[str, Any] = _without_titles(model.model_json_schema())
    schema.setdefault("properties", {})
    return schema


def _without_titles(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_titles(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: {name: _without_titles(item) for name, item in value.items()}
        if key in ("properties", "$defs")
        else _without_titles(value)
        for key, value in node.items()
        if not (key == "title" and isinstance(value, str))
    }


def _arguments_model(
    name: str, function: ToolFunction, help_texts: Mapping[str, str]
) -> tuple[type[BaseModel], str]:
    """Return the pydantic model of `function`'s arguments, and the name of its context argument or ""."""
    hints = get_type_hints(function, include_extras=True)
    context_name = ""
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        hint = hints[parameter.name]
        if hint is ToolContext:
            context_name = parameter.name
            continue
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        info: FieldInfo = Field(default, description=help_texts[parameter.name])
        fields[parameter.name] = (hint, info)
    config = ConfigDict(extra="forbid")
    model: type[BaseModel] = create_model(f"{name}_arguments", __config__=config, **fields)
    return model, context_name


def _checked(name: str, function: ToolFunction, model: type[BaseModel], context_name: str) -> ToolRun:
    async def run(arguments: Arguments, context: ToolContext) -> ToolResult:
        try:
            checked = model.model_validate(dict(arguments))
        except ValidationError as exc:
            problems = "; ".join(
                f"{'.'.join(str(part) for part in problem['loc']) or 'arguments'}: {problem['msg']}"
                for problem in exc.errors()
            )
            known = ", ".join(model.model_fields) or "none"
            raise ToolRetry(
                "tool-arguments", f"Tool '{name}': {problems}. Its arguments are: {known}."
            ) from exc
        values: dict[str, Any] = {key: getattr(checked, key) for key in model.model_fields}
        if context_name:
            values[context_name] = context
        result = await function(**values)
        return ToolResult(True, result) if isinstance(result, str) else result

    return run
