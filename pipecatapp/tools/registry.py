"""The tools of this agent, and the box that a session calls them through.

It owns how tools are found and what they are made with; each is one file beside this one.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from pipecatapp import tools
from pipecatapp.errors import ConfigError, ToolError
from pipecatapp.ports import Clock, ToolResult, ToolSpec
from pipecatapp.tools.base import Tool, ToolContext
from pipecatapp.tools.wrappers import wrap

SUFFIX = "_tool"
"""How the modules of tools end."""
FINAL_TOOL = "final_answer"
"""What ends a turn; models see it first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolDependencies:
    """What tools are made with; a factory's parameter takes the field of its name.

    Args:
        system_clock: What time it is.
        search_dir: Folder that `search` may look through.
        options: Values for further parameters of factories, by tool and parameter (TWIN_TOOL_OPTIONS).
    """

    system_clock: Clock
    search_dir: Path
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def shipped_tools(dependencies: ToolDependencies) -> tuple[Tool, ...]:
    """Return every tool, in the order in which models and people see them.

    A tool is the factory `NAME` of a module `NAME_tool` beside this one.

    Args:
        dependencies: What they are made with.

    Raises:
        ConfigError: An option is of no tool, of no parameter, or of a wrong type; the message
            says what is valid.
    """
    names = tool_names()
    unknown = sorted(dependencies.options.keys() - set(names))
    if unknown:
        raise ConfigError(
            "tool-options",
            f"TWIN_TOOL_OPTIONS: there is no tool '{unknown[0]}'; known: {', '.join(names)}.",
        )
    return tuple(_made(name, dependencies) for name in names)


def tool_names() -> tuple[str, ...]:
    """Return the names of the tools: what ends a turn, then the others by the alphabet."""
    modules = (module.name for module in pkgutil.iter_modules(tools.__path__))
    names = (name.removesuffix(SUFFIX) for name in modules if name.endswith(SUFFIX))
    return tuple(sorted(names, key=lambda name: (name != FINAL_TOOL, name)))


def _made(name: str, dependencies: ToolDependencies) -> Tool:
    factory: Callable[..., Tool] = getattr(importlib.import_module(f"{tools.__name__}.{name}{SUFFIX}"), name)
    parameters, hints = inspect.signature(factory).parameters, get_type_hints(factory)
    shared = {each.name for each in fields(dependencies)} - {"options"}
    own = tuple(parameter for parameter in parameters if parameter not in shared)
    values = {parameter: getattr(dependencies, parameter) for parameter in parameters if parameter in shared}
    for option, given in dependencies.options.get(name, {}).items():
        if option not in own:
            known = ", ".join(own) or "none"
            raise ConfigError(
                "tool-options", f"TWIN_TOOL_OPTIONS: '{name}' has no option '{option}'; known: {known}."
            )
        try:
            values[option] = TypeAdapter(hints[option]).validate_python(given)
        except ValidationError as exc:
            problem = exc.errors()[0]["msg"]
            raise ConfigError("tool-options", f"TWIN_TOOL_OPTIONS: {name}.{option}: {problem}.") from exc
    return factory(**values)


class LocalToolBox:
    """A ToolBox over tools in this process.

    Args:
        available: Names must differ.

    Raises:
        ConfigError: Two tools have one name.
    """

    def __init__(self, available: Sequence[Tool]) -> None:
        self._tools: dict[str, Tool] = {}
        for item in available:
            if item.spec.name in self._tools:
                raise ConfigError("tool-name", f"Two tools are called '{item.spec.name}'.")
            self._tools[item.spec.name] = wrap(item)

    def specs(self) -> Sequence[ToolSpec]:
        """Return every tool, in a stable order."""
        return tuple(item.spec for item in self._tools.values())

    async def call(self, name: str, arguments: Mapping[str, Any], *, session_id: str) -> ToolResult:
        """Run one tool; a ToolError of it becomes a result with `ok` False.

        Raises:
            ToolError: There is no tool of that name; the message lists those there are.
        """
        return await self._find(name).run(arguments, ToolContext(session_id))

    def parse_arguments(self, name: str, text: str) -> Mapping[str, Any] | None:
        """Return arguments that a rule of the tool reads from `text` for certain, or None.

        Raises:
            ToolError: There is no tool of that name; the message lists those there are.
        """
        return self._find(name).extract(text)

    def _find(self, name: str) -> Tool:
        try:
            return self._tools[name]
        except KeyError:
            known = ", ".join(self._tools) or "none"
            raise ToolError("unknown-tool", f"There is no tool '{name}'; known: {known}.") from None
