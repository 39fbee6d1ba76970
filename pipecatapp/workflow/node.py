"""What a node is, and which there are.

It owns the base class, through which a node declares inputs, outputs and configuration as types, and
the registry, which reads those types and never makes a node to look.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from pipecatapp.errors import ConfigError
from pipecatapp.events import Event
from pipecatapp.workflow.port_types import TextStream, type_name
from pipecatapp.workflow.prompts import PromptLibrary
from pipecatapp.workflow.services import NodeServices, RunContext

if TYPE_CHECKING:
    from pipecatapp.workflow.model import Body, NodeDefinition

InT = TypeVar("InT")
OutT = TypeVar("OutT")
ConfigT = TypeVar("ConfigT", bound="NodeConfig")


class NodeConfig(BaseModel):
    """Base of every node's `config`: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoConfig(NodeConfig):
    """For a node that has nothing to configure."""


@dataclass(frozen=True, slots=True)
class OpenInputs:
    """Inputs of a node that takes whatever names its definition gives."""

    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class OpenOutputs:
    """Outputs of a node whose names its definition gives."""

    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output: its type's name, and whether it may be left out."""

    type: str
    is_required: bool = True


class NodeRun(ABC):
    """What one run of a node may ask of the engine."""

    services: NodeServices
    context: RunContext

    @abstractmethod
    def emit(self, output: str, piece: str) -> None:
        """Add a piece to a stream output; readers get it at once."""

    @abstractmethod
    def raise_event(self, event: Event) -> None:
        """Publish an event through the run's caller."""

    @abstractmethod
    def record_tool_call(self, call: dict[str, Any]) -> None:
        """Note a tool call for the end of the run."""

    @abstractmethod
    async def confirmed(self) -> None:
        """Wait until the turn is certain; the wait does not count as the node's time."""

    @abstractmethod
    async def run_body(self, body: Body, given: Mapping[str, object]) -> Mapping[str, object]:
        """Run a loop body once and return its outputs as `node.output` to value."""


class Node(ABC, Generic[InT, OutT, ConfigT]):
    """One kind of node: `class X(Node[Inputs, Outputs, Config])`.

    Inputs and outputs are frozen dataclasses whose fields are ports: an input with a default may be
    left unconnected; an output of type `X | None` that is None counts as skipped. A `TextStream` output
    is fed by `NodeRun.emit` and left None in what `run` returns.

    Args:
        definition: The node in its file.
    """

    type_name: ClassVar[str]
    """Its name in a file."""
    inputs_type: ClassVar[type[Any]]
    outputs_type: ClassVar[type[Any]]
    config_type: ClassVar[type[NodeConfig]]
    has_effect: ClassVar[bool] = False
    """Whether it changes something, so that it is of use although nothing reads its outputs."""
    waits_on_outside: ClassVar[bool] = False
    """Whether it asks an engine, a tool or the store, so that `timeout_s` must be given."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in cls.__dict__.get("__orig_bases__", ()):
            if typing.get_origin(base) is Node:
                cls.inputs_type, cls.outputs_type, cls.config_type = typing.get_args(base)

    def __init__(self, definition: NodeDefinition) -> None:
        if not isinstance(definition.config, self.config_type):
            raise TypeError(f"{definition.id} has a {type(definition.config).__name__}")
        self.definition = definition
        self.config: ConfigT = typing.cast(ConfigT, definition.config)

    @classmethod
    def input_ports(cls, config: NodeConfig, prompts: PromptLibrary) -> Mapping[str, Port] | None:
        """Return the inputs; None when any name will do."""
        return None if cls.inputs_type is OpenInputs else ports_of(cls.inputs_type)

    @classmethod
    def output_ports(cls, config: NodeConfig, prompts: PromptLibrary) -> Mapping[str, Port]:
        """Return the outputs."""
        return {} if cls.outputs_type is OpenOutputs else ports_of(cls.outputs_type)

    @classmethod
    def check_config(cls, config: NodeConfig, prompts: PromptLibrary) -> None:
        """Check what the configuration's types cannot say.

        Raises:
            ConfigProblem: A value is wrong.
        """

    async def warm(self, services: NodeServices) -> None:  # noqa: B027 - most nodes have nothing to do
        """Do ahead what the first run would otherwise wait for."""

    @abstractmethod
    async def run(self, inputs: InT, run: NodeRun) -> OutT:
        """Do the node's work.

        Raises:
            AgentError: It could not; the engine retries, falls back, or ends the run.
        """


class ConfigProblem(ValueError):
    """A configuration value is wrong.

    Args:
        key: The key at fault.
        message: What is wrong and what would be right.
    """

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def known_prompt(prompts: PromptLibrary, key: str, name: str) -> str:
    """Return the prompt that a configuration names under `key`.

    Raises:
        ConfigProblem: There is none of that name; the message lists those there are.
    """
    try:
        return prompts.get(name)
    except ConfigError as exc:
        raise ConfigProblem(key, exc.message) from exc


def ports_of(declared: type[Any]) -> dict[str, Port]:
    """Read ports from a dataclass's fields.

    Raises:
        TypeError: A field has a type that no port may have.
    """
    hints = typing.get_type_hints(declared)
    ports = {}
    for field in dataclasses.fields(declared):
        hint, is_optional = _without_none(hints[field.name])
        has_default = (
            field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        )
        ports[field.name] = Port(type_name(hint), is_required=not (has_default or is_optional))
    return ports


def _without_none(hint: object) -> tuple[object, bool]:
    args = typing.get_args(hint)
    if typing.get_origin(hint) in (types.UnionType, typing.Union) and type(None) in args:
        rest = [arg for arg in args if arg is not type(None)]
        if len(rest) == 1:
            return rest[0], True
    return hint, False


class NodeRegistry:
    """The node classes by name.

    Args:
        classes: Every class there is.

    Raises:
        TypeError: Two classes share a name, or one declares a type that no port may have.
    """

    def __init__(self, classes: Iterable[type[Node[Any, Any, Any]]]) -> None:
        self._classes: dict[str, type[Node[Any, Any, Any]]] = {}
        for cls in classes:
            if cls.type_name in self._classes:
                raise TypeError(f"two node classes are called '{cls.type_name}'")
            for declared in (cls.inputs_type, cls.outputs_type):
                if declared not in (OpenInputs, OpenOutputs):
                    ports_of(declared)
            self._classes[cls.type_name] = cls

    def names(self) -> tuple[str, ...]:
        """Return every node type, sorted."""
        return tuple(sorted(self._classes))

    def get(self, name: str) -> type[Node[Any, Any, Any]] | None:
        """Return a node class, or None."""
        return self._classes.get(name)


def stream_outputs(cls: type[Node[Any, Any, Any]]) -> tuple[str, ...]:
    """Return the outputs that grow while the node runs."""
    if cls.outputs_type is OpenOutputs:
        return ()
    hints = typing.get_type_hints(cls.outputs_type)
    return tuple(name for name, hint in hints.items() if _without_none(hint)[0] is TextStream)
