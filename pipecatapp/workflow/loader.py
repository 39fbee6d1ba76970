r"""Reading a workflow file: this docstring is the reference of the format.

It owns the two forms of a file and their normalisation to one model; whether the graph makes sense is
`validation`'s, and running it is `runner`'s.

    # Purpose, a drawing, inputs and outputs, as a comment.
    name: greet                      # the file's name without .yaml
    version: 1                       # counts changes of inputs and outputs
    description: Greets by name.     # one line; may be left out
    inputs: {user_text: text}        # name to type: text, stream, flag, integer, number, messages,
                                     #   names, json, any
    nodes:
      - id: recall                   # snake_case, unique; not `input`, `output` or `loop`
        type: memory_recall          # `twin workflow nodes` lists them
        config: {limit: 3}           # the type's own keys
        inputs: {query: input.user_text}
        when: route.label == 'chat'  # skipped otherwise; one comparison, or a list that must all hold
        timeout_s: 2                 # required where a node waits on the outside
        retry: {limit: 1, delay_s: 0.1}
        fallback: {facts: []}        # these outputs, when it fails for good
    outputs: {text: answer.text}     # `text` is spoken, piece by piece, while it grows

**Sources.** `node.output`, or a list of them: the first that was not skipped. `input.x` is the
workflow's input `x`. A node is skipped when its `when` does not hold or when all sources of a required
input were skipped; so branches meet again where an input lists one source from each.

**Comparisons.** `node.output == 'text'`, with `==`, `!=`, `<`, `<=`, `>`, `>=` and a quoted text, a
number, `true` or `false`. Nothing is evaluated: there are no calls, names or arithmetic. A comparison
with a skipped output does not hold.

**Loops.** A node of type `loop` repeats its own nodes, which see its inputs as `loop.x`:

      - id: use_tools
        type: loop
        inputs: {question: input.user_text}
        loop:
          limit: 3                          # required, 1 to 20
          until: call.is_done == true       # checked after each round
          carry:                            # `loop.note`, from round to round
            note: {first: "", from: call.note}
          nodes: [...]
          outputs: {answer: call.answer}    # of the last round; `rounds` and `is_done` come by themselves

Edges that lead back are errors everywhere else, so that every workflow ends.

**Timeouts.** `timeout_s` bounds the time without progress: until the node finishes or gives its next
piece of text.

**Long form.** The same edges, as data for editors; a name may be repeated for alternatives:

        inputs:
          - name: query
            connection: {from_node: input, from_output: user_text}

In place of the keys `inputs` and `outputs` at the top, a file may have nodes of type `input` (with
`config: {ports: {user_text: text}}`) and `output`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from pipecatapp.workflow.deprecated_words import DeprecatedWord, current_keys, current_type, log_deprecated
from pipecatapp.workflow.model import (
    INPUT_ID,
    LOOP_ID,
    OUTPUT_ID,
    Body,
    Carry,
    Comparison,
    NodeDefinition,
    Operator,
    Source,
    Workflow,
)
from pipecatapp.workflow.node import ConfigProblem, Node, NodeConfig, NodeRegistry
from pipecatapp.workflow.nodes import default_registry
from pipecatapp.workflow.port_types import PORT_TYPES
from pipecatapp.workflow.prompts import PromptLibrary
from pipecatapp.workflow.validation import check_graph
from pipecatapp.workflow.yaml_source import YamlNode, read_yaml, shown

MAX_LOOP_ROUNDS = 20
"""A loop's limit may not exceed this; a person would long have given up."""
MAX_RETRIES = 5

_WORKFLOW_KEYS = ("name", "version", "description", "inputs", "nodes", "outputs")
_NODE_KEYS = ("id", "type", "config", "inputs", "when", "timeout_s", "retry", "fallback", "loop")
_LOOP_KEYS = ("limit", "until", "carry", "nodes", "outputs")
_ID = re.compile(r"[a-z][a-z0-9_]*")
_SOURCE = re.compile(r"([a-z][a-z0-9_]*)\.([a-z][a-z0-9_]*)")
_FIRST_TYPES: Mapping[str, tuple[type, ...]] = {
    "text": (str,),
    "flag": (bool,),
    "number": (int, float),
    "names": (list,),
}
_COMPARISON = re.compile(
    r"\s*([a-z][a-z0-9_]*)\.([a-z][a-z0-9_]*)\s*(==|!=|<=|>=|<|>)\s*"
    r"(?:'([^']*)'|\"([^\"]*)\"|(-?\d+(?:\.\d+)?)|(true|false))\s*"
)


def load_workflow(
    path: Path,
    *,
    prompts: PromptLibrary | None = None,
    registry: NodeRegistry | None = None,
    warn: Callable[[DeprecatedWord], None] = log_deprecated,
) -> Workflow:
    """Read, normalise and check one workflow file.

    Args:
        path: The file.
        prompts: The prompts that it may name; the shipped ones when None.
        registry: The node types that it may use; all there are when None.
        warn: Is told each word that only this version still accepts.

    Raises:
        WorkflowDefinitionError: The file is wrong; the error names file, line, node and key.
        ConfigError: The prompts are wrong.
    """
    reader = _Reader(prompts or shipped_prompts(), registry or default_registry(), warn)
    root, comment = read_yaml(Path(path))
    workflow = reader.workflow(root, Path(path).stem, comment)
    check_graph(workflow, reader.places, reader.registry, reader.prompts)
    return workflow


@lru_cache(maxsize=1)
def shipped_prompts() -> PromptLibrary:
    """Return the library of the shipped prompts."""
    return PromptLibrary()


class _Reader:
    """Turns one file's values into the model.

    Args:
        prompts: The prompts that configurations may name.
        registry: The node types.
        warn: Is told each deprecated word.
    """

    def __init__(
        self, prompts: PromptLibrary, registry: NodeRegistry, warn: Callable[[DeprecatedWord], None]
    ) -> None:
        self.prompts = prompts
        self.registry = registry
        self.warn = warn
        self.places: dict[tuple[str, int], YamlNode] = {}

    def workflow(self, root: YamlNode, stem: str, comment: str) -> Workflow:
        keys = root.mapping(known=_WORKFLOW_KEYS, required=("name", "nodes"))
        name = root.child("name")
        if name.text() != stem:
            raise name.error(f"must be the file's name, '{stem}'")
        nodes = self.nodes(root.child("nodes"), root)
        inputs = next((node for node in nodes if node.type == "input"), None)
        outputs = [node for node in nodes if node.type == "output"]
        if not outputs:
            raise root.error("a workflow needs the key 'outputs' or a node of type 'output'", key="outputs")
        return Workflow(
            name=stem,
            version=root.child("version").count(least=1, most=10**6) if "version" in keys else 1,
            description=root.child("description").text() if "description" in keys else "",
            nodes=tuple(nodes),
            inputs=dict(getattr(inputs.config, "ports", {})) if inputs else {},
            outputs=tuple(outputs[0].inputs),
            file=root.file,
            comment=comment,
        )

    def nodes(self, place: YamlNode, root: YamlNode | None) -> list[NodeDefinition]:
        """Read a list of nodes; `root` is given for the outermost, whose inputs and outputs are its own."""
        found: list[NodeDefinition] = []
        lines: dict[str, int] = {}
        if root is not None and "inputs" in cast(dict[str, Any], root.value):
            found.append(self._input_node(root.child("inputs")))
        for item in place.items():
            node = self._node(item, is_outermost=root is not None)
            if node.id in lines:
                raise item.of_node(node.id).error(f"the id is taken by line {lines[node.id]}", key="id")
            lines[node.id] = node.line
            found.append(node)
        if root is not None and "outputs" in cast(dict[str, Any], root.value):
            found.append(self._output_node(root.child("outputs")))
        for kind, plural in (("input", "inputs"), ("output", "outputs")):
            of_kind = [node for node in found if node.type == kind]
            if len(of_kind) > 1:
                raise self.places[of_kind[1].id, of_kind[1].line].error(
                    f"a second '{kind}'; a workflow has one node of type '{kind}' or the key '{plural}'"
                )
        return found

    def _input_node(self, place: YamlNode) -> NodeDefinition:
        place = place.of_node(INPUT_ID)
        for name in place.mapping():
            declared = place.child(name)
            if declared.value not in PORT_TYPES:
                raise declared.error(f"unknown type {shown(declared.value)}; known: {', '.join(PORT_TYPES)}")
            self._check_id(name, declared)
        config = self._cls("input").config_type.model_validate({"ports": place.value})
        self.places[place.node, place.line] = place
        return NodeDefinition(id=INPUT_ID, type="input", config=config, inputs={}, line=place.line)

    def _output_node(self, place: YamlNode) -> NodeDefinition:
        place = place.of_node(OUTPUT_ID)
        self.places[place.node, place.line] = place
        config = self._cls("output").config_type()
        return NodeDefinition(
            id=OUTPUT_ID, type="output", config=config, inputs=self._inputs(place), line=place.line
        )

    def _cls(self, name: str) -> type[Node[Any, Any, Any]]:
        cls = self.registry.get(name)
        if cls is None:
            raise TypeError(f"the registry lacks '{name}'")
        return cls

    def _node(self, place: YamlNode, *, is_outermost: bool) -> NodeDefinition:
        if isinstance(place.value, dict) and isinstance(place.value.get("id"), str):
            place = place.of_node(place.value["id"])
        keys = place.mapping(known=_NODE_KEYS, required=("id", "type"))
        kind = place.child("type")
        cls = self.registry.get(current_type(kind, self.warn))
        if cls is None:
            raise kind.error(
                f"unknown node type '{kind.value}'; known: {', '.join(self.registry.names())}", key="type"
            )
        node_id = place.child("id")
        self._check_id(node_id.text(), node_id)
        is_edge = cls.type_name in ("input", "output")
        if is_edge and not is_outermost:
            raise kind.error("belongs outside of loops; a loop has its own inputs and outputs")
        if node_id.value in (INPUT_ID, OUTPUT_ID, LOOP_ID) and not (is_edge and node_id.value != LOOP_ID):
            raise node_id.error(f"'{node_id.value}' is reserved")
        if "timeout_s" not in keys and cls.waits_on_outside:
            raise place.error(
                "missing key; a node that waits on the outside names its limit", key="timeout_s"
            )
        retry_limit, retry_delay_s = self._retry(place) if "retry" in keys else (0, 0.0)
        self.places[place.node, place.line] = place
        return NodeDefinition(
            id=node_id.text(),
            type=cls.type_name,
            config=self._config(place, cls),
            inputs=self._inputs(place.child("inputs")) if "inputs" in keys else {},
            when=self._comparisons(place.child("when")) if "when" in keys else (),
            timeout_s=place.child("timeout_s").number(above=0) if "timeout_s" in keys else None,
            retry_limit=retry_limit,
            retry_delay_s=retry_delay_s,
            fallback=self._fallback(place.child("fallback")) if "fallback" in keys else None,
            body=self._body(place, is_loop=cls.type_name == "loop"),
            line=place.line,
        )

    @staticmethod
    def _check_id(name: str, place: YamlNode) -> None:
        if not _ID.fullmatch(name):
            raise place.error(f"'{name}' must be snake_case: a to z, 0 to 9 and _, a letter first")

    def _config(self, place: YamlNode, cls: type[Node[Any, Any, Any]]) -> NodeConfig:
        given: object = {}
        where = place
        if "config" in cast(dict[str, object], place.value):
            where = current_keys(place.child("config"), cls.type_name, self.warn)
            where.mapping(known=tuple(cls.config_type.model_fields))
            given = where.value
        try:
            config = cls.config_type.model_validate(given)
            cls.check_config(config, self.prompts)
        except ValidationError as exc:
            problem = exc.errors()[0]
            raise _at(where, problem["loc"]).error(_describe(cast(Mapping[str, Any], problem))) from exc
        except ConfigProblem as exc:
            raise where.error(str(exc), key=exc.key) from exc
        return config

    def _inputs(self, place: YamlNode) -> dict[str, tuple[Source, ...]]:
        if isinstance(place.value, list):
            return self._long_inputs(place)
        inputs = {}
        for name in place.mapping():
            child = place.child(name)
            parts = child.items() if isinstance(child.value, list) else [child]
            if not parts:
                raise child.error("no source; give 'node.output'")
            inputs[name] = tuple(self._source(part) for part in parts)
        return inputs

    def _long_inputs(self, place: YamlNode) -> dict[str, tuple[Source, ...]]:
        inputs: dict[str, tuple[Source, ...]] = {}
        for item in place.items():
            item.mapping(known=("name", "connection"), required=("name", "connection"))
            connection = item.child("connection")
            connection.mapping(known=("from_node", "from_output"), required=("from_node", "from_output"))
            ends = (connection.child("from_node").text(), connection.child("from_output").text())
            name = item.child("name").text()
            inputs[name] = (*inputs.get(name, ()), Source(*ends, line=connection.line))
        return inputs

    @staticmethod
    def _source(place: YamlNode) -> Source:
        match = _SOURCE.fullmatch(place.text())
        if match is None:
            raise place.error(f"expected 'node.output', found {shown(place.value)}")
        return Source(match[1], match[2], line=place.line)

    @staticmethod
    def _comparisons(place: YamlNode) -> tuple[Comparison, ...]:
        found = []
        for part in place.items() if isinstance(place.value, list) else [place]:
            match = _COMPARISON.fullmatch(part.text())
            if match is None:
                raise part.error(
                    f"{shown(part.value)} is no comparison; write node.output == 'text', "
                    "with ==, !=, <, <=, > or >= and a quoted text, a number, true or false"
                )
            single, double, number, flag = match.group(4, 5, 6, 7)
            literal: str | float | bool = single if single is not None else double
            if number is not None:
                literal = float(number)
            elif flag is not None:
                literal = flag == "true"
            source = Source(match[1], match[2], line=part.line)
            found.append(Comparison(source, cast(Operator, match[3]), literal))
        return tuple(found)

    @staticmethod
    def _retry(place: YamlNode) -> tuple[int, float]:
        retry = place.child("retry")
        keys = retry.mapping(known=("limit", "delay_s"), required=("limit",))
        delay_s = retry.child("delay_s").number(least=0) if "delay_s" in keys else 0.0
        return retry.child("limit").count(least=1, most=MAX_RETRIES), delay_s

    @staticmethod
    def _fallback(place: YamlNode) -> dict[str, object]:
        place.mapping()
        return dict(cast(dict[str, object], place.value))

    def _body(self, place: YamlNode, *, is_loop: bool) -> Body | None:
        has_body = "loop" in cast(dict[str, object], place.value)
        if not is_loop and not has_body:
            return None
        if not is_loop:
            raise place.error("only a node of type 'loop' has this key", key="loop")
        if not has_body:
            raise place.error("missing key; a loop has 'limit', 'until', 'nodes' and 'outputs'", key="loop")
        loop = place.child("loop")
        keys = loop.mapping(known=_LOOP_KEYS)
        if "limit" not in keys:
            raise loop.error(f"unbounded loop: it must name its limit, 1 to {MAX_LOOP_ROUNDS}", key="limit")
        loop.mapping(required=("until", "nodes", "outputs"))
        carried = loop.child("carry") if "carry" in keys else None
        outputs = loop.child("outputs")
        return Body(
            nodes=tuple(self.nodes(loop.child("nodes"), None)),
            until=self._comparisons(loop.child("until")),
            limit=loop.child("limit").count(least=1, most=MAX_LOOP_ROUNDS),
            carry={name: self._carry(carried.child(name)) for name in carried.mapping()} if carried else {},
            outputs={name: self._source(outputs.child(name)) for name in outputs.mapping()},
        )

    def _carry(self, place: YamlNode) -> Carry:
        place.mapping(known=("first", "from"), required=("first", "from"))
        first = place.child("first")
        for kind, types in _FIRST_TYPES.items():
            if isinstance(first.value, types):
                value = tuple(first.value) if isinstance(first.value, list) else first.value
                return Carry(value, kind, self._source(place.child("from")))
        raise first.error(f"expected a text, a flag, a number or a list of texts, found {shown(first.value)}")


def _at(place: YamlNode, path: tuple[int | str, ...]) -> YamlNode:
    """Go in as far as the file does."""
    for part in path:
        try:
            place = place.child(part)
        except (KeyError, IndexError, TypeError):
            return place if not isinstance(part, str) else _missing(place, part)
    return place


def _missing(place: YamlNode, key: str) -> YamlNode:
    return YamlNode(
        value=None,
        file=place.file,
        lines={(*place.path, key): place.line},
        path=(*place.path, key),
        node=place.node,
    )


def _describe(problem: Mapping[str, Any]) -> str:
    if problem["type"] == "missing":
        return "missing key"
    if problem["type"] == "extra_forbidden":
        return "unknown key"
    return f"{problem['msg']}, found {shown(problem['input'])}"
