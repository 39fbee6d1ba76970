"""Nodes that choose a tool's arguments and call it.

It owns how a call comes about: by the tool's own rules when they are sure, else as a schema in which a
model's answer always parses. What a tool does, and who may call it, is the toolbox's business.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import Field

from pipecatapp.errors import ToolError, WorkflowRuntimeError
from pipecatapp.events import ToolFinished, ToolStarted
from pipecatapp.ports import ToolBox, ToolResult, ToolSpec
from pipecatapp.workflow.node import NoConfig, Node, NodeConfig, NodeRun
from pipecatapp.workflow.port_types import Json, Names

MAX_ARGUMENT_CHARS = 200
"""Bound of a text argument whose schema names none: an answer that is cut off would not parse."""


@dataclass(frozen=True, slots=True)
class ToolArgumentsInputs:
    """The request, the tool it was routed to, and what earlier calls in this turn came to."""

    text: str
    tool: str
    notes: str = ""


@dataclass(frozen=True, slots=True)
class ToolArgumentsOutputs:
    """A call when rules are sure of it; else what a model needs to make one."""

    needs_model: bool
    call: Json | None = None
    schema: Json | None = None
    tools: Names | None = None


class ToolArgumentsConfig(NodeConfig):
    """Which tools a model may choose from."""

    final_tool: str = ""
    """Tool that ends the turn; offered beside the routed one once a call has failed."""
    argument_chars: int = Field(MAX_ARGUMENT_CHARS, ge=1, le=4000)
    """Bound of text arguments (characters)."""


class ToolArgumentsNode(Node[ToolArgumentsInputs, ToolArgumentsOutputs, ToolArgumentsConfig]):
    """Reads a tool's arguments from the request, or says what a model must fill in."""

    type_name = "tool_arguments"

    async def run(self, inputs: ToolArgumentsInputs, run: NodeRun) -> ToolArgumentsOutputs:
        """Plan one call."""
        toolbox = run.services.toolbox
        spec = spec_of(toolbox, inputs.tool)
        if not inputs.notes:
            arguments = toolbox.parse_arguments(spec.name, inputs.text)
            if arguments is None and not spec.parameters.get("properties"):
                arguments = {}
            if arguments is not None:
                return ToolArgumentsOutputs(False, call={"name": spec.name, "arguments": dict(arguments)})
        offered = [spec]
        if inputs.notes and self.config.final_tool and self.config.final_tool != spec.name:
            offered.append(spec_of(toolbox, self.config.final_tool))
        calls = [call_schema(each, self.config.argument_chars) for each in offered]
        described = tuple(described_tool(each) for each in offered)
        return ToolArgumentsOutputs(
            True, schema=calls[0] if len(calls) == 1 else {"anyOf": calls}, tools=described
        )


@dataclass(frozen=True, slots=True)
class ToolCallInputs:
    """The call: `{"name": ..., "arguments": {...}}`."""

    call: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallOutputs:
    """What came of it. `speech` is skipped when the result is no sentence; `note` is "" after a success."""

    ok: bool
    is_done: bool
    content: str
    note: str
    has_speech: bool
    speech: str | None


class ToolCallNode(Node[ToolCallInputs, ToolCallOutputs, NoConfig]):
    """Calls a tool; one that needs approval is not called before the turn is certain."""

    type_name = "tool_call"
    has_effect = True
    waits_on_outside = True

    async def run(self, inputs: ToolCallInputs, run: NodeRun) -> ToolCallOutputs:
        """Call the tool and report it."""
        name = str(inputs.call.get("name", ""))
        arguments = dict(cast(Mapping[str, Any], inputs.call.get("arguments") or {}))
        if spec_of(run.services.toolbox, name).needs_approval:
            await run.confirmed()
        call_id, turn_id = uuid.uuid4().hex[:12], run.context.turn_id
        run.raise_event(ToolStarted(turn_id=turn_id, call_id=call_id, name=name, arguments=arguments))
        result = await self._call(run, name, arguments)
        run.raise_event(
            ToolFinished(turn_id=turn_id, call_id=call_id, name=name, ok=result.ok, result=result.content)
        )
        call = {"id": call_id, "name": name, "arguments": arguments}
        run.record_tool_call(call | {"ok": result.ok, "result": result.content})
        speech = result.speech or (result.content if result.is_final else "")
        return ToolCallOutputs(
            ok=result.ok,
            is_done=result.ok or result.is_final or bool(result.speech),
            content=result.content,
            note="" if result.ok else f"{name} failed: {result.content}",
            has_speech=bool(speech),
            speech=speech or None,
        )

    @staticmethod
    async def _call(run: NodeRun, name: str, arguments: Mapping[str, Any]) -> ToolResult:
        try:
            return await run.services.toolbox.call(name, arguments, session_id=run.context.session_id)
        except ToolError as exc:
            return ToolResult(ok=False, content=exc.message)


def spec_of(toolbox: ToolBox, name: str) -> ToolSpec:
    """Return a tool's description.

    Raises:
        WorkflowRuntimeError: There is no such tool; the message lists those there are.
    """
    specs = toolbox.specs()
    for spec in specs:
        if spec.name == name:
            return spec
    known = ", ".join(spec.name for spec in specs) or "none"
    raise WorkflowRuntimeError("unknown-tool", f"There is no tool '{name}'; there are: {known}.")


def described_tool(spec: ToolSpec) -> str:
    """Return a tool and its arguments in words."""
    properties = cast(Mapping[str, Mapping[str, Any]], spec.parameters.get("properties", {}))
    arguments = "; ".join(f"{name}: {each.get('description', '')}" for name, each in properties.items())
    return f"{spec.name}: {spec.description}" + (f" Arguments: {arguments}" if arguments else "")


def call_schema(spec: ToolSpec, argument_chars: int = MAX_ARGUMENT_CHARS) -> dict[str, Any]:
    """Return the JSON schema of a call of `spec`, with every text bounded and every argument required.

    A small model leaves out whatever it may, also what the request says; asked for each argument, it
    fills in the right one or an empty one.
    """
    parameters = _bounded(spec.parameters, argument_chars)
    parameters["required"] = list(parameters.get("properties", {}))
    return {
        "type": "object",
        "properties": {
            "name": {"const": spec.name},
            "arguments": parameters,
        },
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _bounded(schema: Any, chars: int) -> Any:
    if isinstance(schema, Mapping):
        bounded = {key: _bounded(value, chars) for key, value in schema.items()}
        if schema.get("type") == "string" and not {"enum", "const", "maxLength", "pattern"} & schema.keys():
            bounded["maxLength"] = chars
        return bounded
    if isinstance(schema, list | tuple):
        return [_bounded(item, chars) for item in schema]
    return schema
