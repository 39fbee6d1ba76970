"""Whether a workflow's graph makes sense.

It owns the checks across nodes: edges end somewhere, types fit, nothing runs in circles, nothing is for
nothing. How a single node is written is the loader's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pipecatapp.errors import WorkflowDefinitionError
from pipecatapp.workflow.model import LOOP_ID, Body, Comparison, NodeDefinition, Source, Workflow
from pipecatapp.workflow.node import Node, NodeRegistry, Port
from pipecatapp.workflow.port_types import fits
from pipecatapp.workflow.prompts import PromptLibrary
from pipecatapp.workflow.yaml_source import YamlNode, shown

Outputs = Mapping[str, Mapping[str, str]]
"""Node id to its outputs to their types."""

_COMPARABLE = {"text": str, "flag": bool, "integer": float, "number": float}
_FALLBACK_TYPES: Mapping[str, tuple[type, ...]] = {
    "text": (str,),
    "stream": (str,),
    "flag": (bool,),
    "integer": (int,),
    "number": (int, float),
    "names": (list,),
    "messages": (),
    "json": (dict,),
    "any": (object,),
}


def check_graph(
    workflow: Workflow,
    places: Mapping[tuple[str, int], YamlNode],
    registry: NodeRegistry,
    prompts: PromptLibrary,
) -> None:
    """Check a whole workflow.

    Args:
        workflow: What was read.
        places: Id and line of a node to its place in the file.
        registry: The node types.
        prompts: The prompts.

    Raises:
        WorkflowDefinitionError: Something is wrong; the first problem in the file's order.
    """
    checker = _Checker(places, registry, prompts)
    checker.check(workflow.nodes, {}, extra_uses=())


class _Checker:
    def __init__(
        self, places: Mapping[tuple[str, int], YamlNode], registry: NodeRegistry, prompts: PromptLibrary
    ) -> None:
        self._places = places
        self._registry = registry
        self._prompts = prompts

    def check(
        self, nodes: tuple[NodeDefinition, ...], given: Outputs, *, extra_uses: Iterable[Source]
    ) -> dict[str, dict[str, str]]:
        """Check one scope and return its outputs' types; `extra_uses` are read from outside of it."""
        self._check_edges_end(nodes, given)
        ordered = self._in_order(nodes)
        outputs: dict[str, dict[str, str]] = {name: dict(ports) for name, ports in given.items()}
        for node in ordered:
            self._check_sources(node, outputs)
            outputs[node.id] = self._outputs_of(node, outputs)
        for node in nodes:
            self._check_inputs(node, outputs)
            self._check_conditions(node, outputs)
            self._check_fallback(node, outputs[node.id])
        self._check_uses(nodes, outputs, extra_uses)
        return outputs

    def _class_of(self, node: NodeDefinition) -> type[Node[Any, Any, Any]]:
        cls = self._registry.get(node.type)
        if cls is None:
            raise self._error(node, f"unknown node type '{node.type}'", key="type")
        return cls

    def _error(
        self, node: NodeDefinition, message: str, *, key: str, line: int = 0
    ) -> WorkflowDefinitionError:
        place = self._places[node.id, node.line]
        made = place.error(message, key=key)
        if line:
            return WorkflowDefinitionError(message, file=place.file, line=line, node=node.id, key=key)
        return made

    def _check_edges_end(self, nodes: tuple[NodeDefinition, ...], given: Outputs) -> None:
        known = [node.id for node in nodes if node.type != "output"] + list(given)
        for node in nodes:
            for key, source in _reads(node):
                if source.node not in known:
                    message = f"'{source}' comes from no node; known: {', '.join(known)}"
                    raise self._error(node, message, key=key, line=source.line)

    def _in_order(self, nodes: tuple[NodeDefinition, ...]) -> list[NodeDefinition]:
        by_id = {node.id: node for node in nodes}
        ordered: list[NodeDefinition] = []
        way: list[str] = []

        def visit(node: NodeDefinition) -> None:
            if node in ordered:
                return
            if node.id in way:
                circle = " <- ".join([*way[way.index(node.id) :], node.id])
                message = f"unbounded cycle {circle}; put what repeats into a node of type 'loop'"
                raise self._error(node, f"{message}, which names its limit", key="inputs")
            way.append(node.id)
            for _, source in _reads(node):
                if source.node in by_id:
                    visit(by_id[source.node])
            way.pop()
            ordered.append(node)

        for node in nodes:
            visit(node)
        return ordered

    def _check_sources(self, node: NodeDefinition, outputs: Outputs) -> None:
        for key, source in _reads(node):
            self._check_output(node, key, source, outputs)

    def _check_output(self, node: NodeDefinition, key: str, source: Source, outputs: Outputs) -> None:
        ports = outputs[source.node]
        if source.output not in ports:
            message = f"'{source.node}' has no output '{source.output}'; it has: {', '.join(ports) or 'none'}"
            raise self._error(node, message, key=key, line=source.line)

    def _outputs_of(self, node: NodeDefinition, outputs: Outputs) -> dict[str, str]:
        cls = self._class_of(node)
        ports = {name: port.type for name, port in cls.output_ports(node.config, self._prompts).items()}  # type: ignore[arg-type]
        if node.body is not None:
            ports |= self._body_outputs(node, node.body, outputs)
        return ports

    def _body_outputs(self, node: NodeDefinition, body: Body, outputs: Outputs) -> dict[str, str]:
        given = {name: outputs[sources[0].node][sources[0].output] for name, sources in node.inputs.items()}
        given = {name: "text" if kind == "stream" else kind for name, kind in given.items()}
        for name, carry in body.carry.items():
            if name in given:
                message = f"'{name}' is an input of the loop already"
                raise self._error(node, message, key="carry", line=carry.source.line)
            given[name] = carry.type
        read = [source for _, source in _body_reads(body)]
        inner = self.check(body.nodes, {LOOP_ID: given}, extra_uses=read)
        for key, source in _body_reads(body):
            if source.node not in inner:
                message = f"'{source}' comes from no node of the loop; known: {', '.join(inner)}"
                raise self._error(node, message, key=key, line=source.line)
            self._check_output(node, key, source, inner)
        for name, carry in body.carry.items():
            kind = inner[carry.source.node][carry.source.output]
            if not fits(kind, carry.type):
                message = f"'{carry.source}' is {kind}, but '{name}' begins as {carry.type}"
                raise self._error(node, message, key="carry", line=carry.source.line)
        for comparison in body.until:
            self._check_comparison(node, comparison, inner, key="until")
        kinds = {name: inner[source.node][source.output] for name, source in body.outputs.items()}
        return {name: "text" if kind == "stream" else kind for name, kind in kinds.items()}

    def _check_inputs(self, node: NodeDefinition, outputs: Outputs) -> None:
        ports = self._class_of(node).input_ports(node.config, self._prompts)  # type: ignore[arg-type]
        if ports is None:
            return
        for name, sources in node.inputs.items():
            if name not in ports:
                message = f"unknown input; known: {', '.join(ports) or 'none'}"
                raise self._error(node, message, key=name, line=sources[0].line)
            for source in sources:
                self._check_type(node, name, source, ports[name], outputs)
        for name, port in ports.items():
            if port.is_required and name not in node.inputs:
                message = f"missing input of type {port.type}; required: "
                required = [each for each, other in ports.items() if other.is_required]
                raise self._error(node, message + ", ".join(required), key=name)

    def _check_type(
        self, node: NodeDefinition, name: str, source: Source, port: Port, outputs: Outputs
    ) -> None:
        kind = outputs[source.node][source.output]
        if not fits(kind, port.type):
            message = f"'{source}' is {kind}, but the input takes {port.type}"
            raise self._error(node, message, key=name, line=source.line)

    def _check_conditions(self, node: NodeDefinition, outputs: Outputs) -> None:
        for comparison in node.when:
            self._check_comparison(node, comparison, outputs, key="when")

    def _check_comparison(
        self, node: NodeDefinition, comparison: Comparison, outputs: Outputs, *, key: str
    ) -> None:
        source, literal = comparison.source, comparison.literal
        kind = outputs[source.node][source.output]
        wanted = _COMPARABLE.get(kind)
        if wanted is None:
            message = f"'{source}' is {kind}, which is not compared; these are: {', '.join(_COMPARABLE)}"
            raise self._error(node, message, key=key, line=source.line)
        if type(literal) is not wanted:
            message = f"'{source}' is {kind}, but {shown(literal)} is not"
            raise self._error(node, message, key=key, line=source.line)
        if kind in ("text", "flag") and comparison.operator not in ("==", "!="):
            message = f"'{source}' is {kind}, which is compared by == or !="
            raise self._error(node, message, key=key, line=source.line)

    def _check_fallback(self, node: NodeDefinition, ports: Mapping[str, str]) -> None:
        for name, value in (node.fallback or {}).items():
            if name not in ports:
                message = f"'{name}' is no output; known: {', '.join(ports) or 'none'}"
                raise self._error(node, message, key="fallback")
            wrong_flag = isinstance(value, bool) and ports[name] not in ("flag", "any")
            if wrong_flag or not isinstance(value, _FALLBACK_TYPES[ports[name]]):
                message = f"output '{name}' is {ports[name]}, found {shown(value)}"
                raise self._error(node, message, key="fallback")

    def _check_uses(
        self, nodes: tuple[NodeDefinition, ...], outputs: Outputs, extra_uses: Iterable[Source]
    ) -> None:
        read = [source for node in nodes for _, source in _reads(node)] + list(extra_uses)
        used = {(source.node, source.output) for source in read}
        for node in nodes:
            if node.type == "input":
                for name in outputs[node.id]:
                    if (node.id, name) not in used:
                        raise self._error(node, "unused output: no node reads this input", key=name)
            is_read = any((node.id, name) in used for name in outputs[node.id])
            if node.type not in ("input", "output") and not is_read and not self._has_effect(node):
                names = ", ".join(outputs[node.id]) or "none"
                raise self._error(
                    node, f"unused output: nothing reads any of its outputs ({names})", key="id"
                )

    def _has_effect(self, node: NodeDefinition) -> bool:
        inner = node.body.nodes if node.body is not None else ()
        return self._class_of(node).has_effect or any(self._has_effect(each) for each in inner)


def _reads(node: NodeDefinition) -> list[tuple[str, Source]]:
    """Return what a node reads of its own scope, with the key that says so."""
    found = [(name, source) for name, sources in node.inputs.items() for source in sources]
    return found + [("when", comparison.source) for comparison in node.when]


def _body_reads(body: Body) -> list[tuple[str, Source]]:
    found = [("carry", carry.source) for carry in body.carry.values()]
    found += [("outputs", source) for source in body.outputs.values()]
    return found + [("until", comparison.source) for comparison in body.until]
