"""A workflow as data, after its file has been read and found right.

It owns the shapes that the loader makes and the runner walks; both forms of the file end here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel

Operator = Literal["==", "!=", "<", "<=", ">", ">="]
INPUT_ID = "input"
"""Id of the node that stands for the workflow's inputs."""
OUTPUT_ID = "output"
"""Id of the node that stands for the workflow's outputs."""
LOOP_ID = "loop"
"""Id that stands, inside a loop's body, for what the loop was given."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where an input's value comes from: `node.output`."""

    node: str
    output: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.node}.{self.output}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One comparison of an output with a literal. It does not hold when the output was skipped."""

    source: Source
    operator: Operator
    literal: str | float | bool

    def __str__(self) -> str:
        shown = f"'{self.literal}'" if isinstance(self.literal, str) else str(self.literal).lower()
        return f"{self.source} {self.operator} {shown}"


@dataclass(frozen=True, slots=True)
class Carry:
    """A value that a loop hands from round to round.

    Args:
        first: Its value in the first round.
        type: Its port type.
        source: The body's output that is its value in the next round.
    """

    first: object
    type: str
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The nodes that a loop repeats.

    Args:
        nodes: In the file's order.
        until: The loop ends after a round in which all of these hold.
        limit: Rounds at most, > 0.
        carry: Name, in the body, of what goes from round to round.
        outputs: The loop's outputs, taken from the last round.
    """

    nodes: tuple[NodeDefinition, ...]
    until: tuple[Comparison, ...]
    limit: int
    carry: Mapping[str, Carry]
    outputs: Mapping[str, Source]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDefinition:
    """One node.

    Args:
        id: Snake-case name, unique in its file or loop body.
        type: Name of the node's class in the registry.
        config: Its checked configuration.
        inputs: Input to its sources; the first that was not skipped gives the value.
        when: The node is skipped unless all of these hold.
        timeout_s: Seconds it may go on without finishing or giving a further piece of text, > 0;
            None for no bound.
        retry_limit: Further attempts after a failure that may pass.
        retry_delay_s: Seconds between attempts.
        fallback: Outputs used when it fails for good; None lets the run fail.
        body: What a loop repeats.
        line: Where it stands in the file.
    """

    id: str
    type: str
    config: BaseModel
    inputs: Mapping[str, tuple[Source, ...]]
    when: tuple[Comparison, ...] = ()
    timeout_s: float | None = None
    retry_limit: int = 0
    retry_delay_s: float = 0.0
    fallback: Mapping[str, object] | None = None
    body: Body | None = None
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """A checked workflow.

    Args:
        name: The file's name without its ending.
        version: Counts changes of its inputs and outputs, from 1.
        description: One line.
        nodes: Every node, with `input` first and `output` last, in the file's order.
        inputs: Name to port type.
        outputs: Names.
        file: Where it came from.
    """

    name: str
    version: int
    description: str
    nodes: tuple[NodeDefinition, ...]
    inputs: Mapping[str, str]
    outputs: tuple[str, ...]
    file: str = ""
    comment: str = field(default="", repr=False)
