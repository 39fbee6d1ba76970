"""Drawings of a workflow, for a terminal and for Graphviz.

It owns only the two notations; a drawing shows a checked workflow and leaves nothing out.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipecatapp.workflow.model import Body, NodeDefinition, Source, Workflow


def draw_text(workflow: Workflow) -> str:
    """Return the workflow as text: each node with what it reads, in an order in which they may run.

    Nodes of one rank (`1`, `2` ...) may run side by side.
    """
    lines = [f"{workflow.name} (version {workflow.version})"]
    if workflow.description:
        lines.append(workflow.description)
    lines += ["", *_text_of(workflow.nodes, indent="")]
    return "\n".join(lines) + "\n"


def _text_of(nodes: tuple[NodeDefinition, ...], *, indent: str) -> Iterator[str]:
    ranks = _ranks(nodes)
    for node in sorted(nodes, key=lambda each: ranks[each.id]):
        head = f"{indent}{ranks[node.id]:>2}  {node.id}"
        yield head + (f" [{node.type}]" if node.type != node.id else "")
        pad = indent + "      "
        for condition in node.when:
            yield f"{pad}when {condition}"
        for name, sources in node.inputs.items():
            yield f"{pad}{name} <- {' | '.join(str(source) for source in sources)}"
        if node.type == "input":
            ports = getattr(node.config, "ports", {})
            yield from (f"{pad}{name}: {kind}" for name, kind in ports.items())
        if node.body is not None:
            yield from _text_of_body(node.body, pad)


def _text_of_body(body: Body, pad: str) -> Iterator[str]:
    until = " and ".join(str(condition) for condition in body.until)
    yield f"{pad}+-- up to {body.limit} times, until {until}"
    yield from _text_of(body.nodes, indent=f"{pad}|  ")
    for name, carry in body.carry.items():
        yield f"{pad}|      {name} <- {carry.source}, in the next round"
    for name, source in body.outputs.items():
        yield f"{pad}+-> {name} <- {source}"


def _ranks(nodes: tuple[NodeDefinition, ...]) -> dict[str, int]:
    by_id = {node.id: node for node in nodes}
    ranks: dict[str, int] = {}

    def rank(node: NodeDefinition) -> int:
        if node.id not in ranks:
            before = [rank(by_id[source.node]) for source in _reads(node) if source.node in by_id]
            ranks[node.id] = 1 + max(before, default=0)
        return ranks[node.id]

    for node in nodes:
        rank(node)
    return ranks


def _reads(node: NodeDefinition) -> Iterator[Source]:
    for sources in node.inputs.values():
        yield from sources
    for condition in node.when:
        yield condition.source


def draw_dot(workflow: Workflow) -> str:
    """Return the workflow in Graphviz's language; dashed edges are conditions."""
    lines = [f'digraph "{workflow.name}" {{', "  rankdir=LR;", "  node [shape=box, fontname=sans];"]
    lines += _dot_of(workflow.nodes, prefix="", indent="  ")
    return "\n".join([*lines, "}"]) + "\n"


def _dot_of(nodes: tuple[NodeDefinition, ...], *, prefix: str, indent: str) -> Iterator[str]:
    for node in nodes:
        name = prefix + node.id
        if node.body is None:
            yield f'{indent}"{name}" [label="{node.id}\\n{node.type}"];'
        else:
            until = " and ".join(str(condition) for condition in node.body.until)
            yield f'{indent}subgraph "cluster_{name}" {{'
            yield f'{indent}  label="{node.id}: up to {node.body.limit} times, until {_escaped(until)}";'
            yield f'{indent}  "{name}" [label="{node.id}\\nloop", style=rounded];'
            yield from _dot_of(node.body.nodes, prefix=f"{name}/", indent=indent + "  ")
            for carried, carry in node.body.carry.items():
                yield f'{indent}  "{name}/{carry.source.node}" -> "{name}/loop" [label="{carried}"];'
            yield f"{indent}}}"
        for input_name, sources in node.inputs.items():
            for source in sources:
                label = f"{source.output} to {input_name}"
                yield f'{indent}"{prefix}{source.node}" -> "{name}" [label="{label}"];'
        for condition in node.when:
            label = _escaped(str(condition).removeprefix(f"{condition.source.node}."))
            yield f'{indent}"{prefix}{condition.source.node}" -> "{name}" [style=dashed, label="{label}"];'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
