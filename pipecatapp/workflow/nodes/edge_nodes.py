"""Nodes at a workflow's edge: what comes in, what goes out, and what time it is.

It owns no decision; the runner gives `input` its values and shows the caller what reaches `output`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from pipecatapp.workflow.node import NoConfig, Node, NodeConfig, NodeRun, OpenInputs, OpenOutputs, Port
from pipecatapp.workflow.prompts import PromptLibrary

PortName = Literal["text", "stream", "flag", "integer", "number", "messages", "names", "json", "any"]


class InputConfig(NodeConfig):
    """What the caller must give."""

    ports: dict[str, PortName]
    """Input to its type."""


class InputNode(Node[OpenInputs, OpenOutputs, InputConfig]):
    """The workflow's inputs."""

    type_name = "input"

    @classmethod
    def input_ports(cls, config: NodeConfig, prompts: PromptLibrary) -> Mapping[str, Port]:
        """Return none: its values come from the caller."""
        return {}

    @classmethod
    def output_ports(cls, config: NodeConfig, prompts: PromptLibrary) -> Mapping[str, Port]:
        """Return the declared inputs."""
        return {name: Port(kind) for name, kind in cast(InputConfig, config).ports.items()}

    async def run(self, inputs: OpenInputs, run: NodeRun) -> OpenOutputs:
        """Pass on what the caller gave."""
        return OpenOutputs(inputs.values)


class OutputNode(Node[OpenInputs, OpenOutputs, NoConfig]):
    """The workflow's outputs. `text` is the answer."""

    type_name = "output"
    has_effect = True

    @classmethod
    def input_ports(cls, config: NodeConfig, prompts: PromptLibrary) -> Mapping[str, Port] | None:
        """Return None: a file chooses its outputs' names."""
        return None

    async def run(self, inputs: OpenInputs, run: NodeRun) -> OpenOutputs:
        """Pass on what came."""
        return OpenOutputs(inputs.values)


@dataclass(frozen=True, slots=True)
class NoInputs:
    """Nothing."""


@dataclass(frozen=True, slots=True)
class NowOutputs:
    """The local time, in words."""

    date: str
    time: str


class NowNode(Node[NoInputs, NowOutputs, NoConfig]):
    """Today's date and the time of day."""

    type_name = "now"

    async def run(self, inputs: NoInputs, run: NodeRun) -> NowOutputs:
        """Read the clock."""
        now = time.localtime(run.services.clock.wall_s())
        date = time.strftime("%A, ", now) + f"{now.tm_mday} " + time.strftime("%B %Y", now)
        return NowOutputs(date=date, time=time.strftime("%H:%M", now))
