"""A YAML file that still knows its line numbers.

It owns reading YAML safely, and `YamlNode`, a value with its way back to file, line, node and key, from
which every definition error is made. What the keys mean is the loader's business.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from pipecatapp.errors import WorkflowDefinitionError

MAX_FILE_BYTES = 256_000
"""A workflow is a page or two; a file beyond this is something else."""

_BOOL_TAG = "tag:yaml.org,2002:bool"
"""YAML 1.1 takes `yes`, `no`, `on` and `off` for flags too; here, as in YAML 1.2, they are texts."""

Path_ = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class YamlNode:
    """A value in a file.

    Args:
        value: What stands there.
        file: The file's name.
        lines: Line of every key and item of the file, by its path.
        path: Keys and indices that lead to the value.
        node: Id of the node that it belongs to, or "".
    """

    value: object
    file: str
    lines: Mapping[Path_, int]
    path: Path_ = ()
    node: str = ""

    @property
    def line(self) -> int:
        """Line in the file, from 1."""
        return self.lines.get(self.path, 0)

    @property
    def key(self) -> str:
        """The last key that leads here, or ""."""
        return next((part for part in reversed(self.path) if isinstance(part, str)), "")

    def of_node(self, node: str) -> YamlNode:
        """Return the same place, said to belong to `node`."""
        return replace(self, node=node)

    def child(self, part: str | int) -> YamlNode:
        """Return the place one step further in."""
        value = self.value[part]  # type: ignore[index]
        return replace(self, value=value, path=(*self.path, part))

    def error(self, message: str, *, key: str | None = None) -> WorkflowDefinitionError:
        """Make an error that names this place, or its child `key` where there is one."""
        line = self.lines.get((*self.path, key), self.line) if key else self.line
        shown = self.key if key is None else key
        return WorkflowDefinitionError(message, file=self.file, line=line, node=self.node, key=shown)

    def mapping(self, *, known: Collection[str] | None = None, required: Collection[str] = ()) -> list[str]:
        """Check that a mapping stands here and return its keys.

        Raises:
            WorkflowDefinitionError: It is none, lacks a key, or has an unknown one.
        """
        if not isinstance(self.value, dict):
            raise self.error(f"expected a mapping, found {shown(self.value)}")
        for key in self.value:
            if known is not None and key not in known:
                raise self.error(f"unknown key; known: {', '.join(sorted(known))}", key=key)
        for key in required:
            if key not in self.value:
                raise self.error(f"missing key; required: {', '.join(required)}", key=key)
        return list(self.value)

    def items(self) -> list[YamlNode]:
        """Check that a list stands here and return its items.

        Raises:
            WorkflowDefinitionError: It is none.
        """
        if not isinstance(self.value, list):
            raise self.error(f"expected a list, found {shown(self.value)}")
        return [self.child(index) for index in range(len(self.value))]

    def text(self) -> str:
        """Check that a text stands here and return it.

        Raises:
            WorkflowDefinitionError: It is none.
        """
        if not isinstance(self.value, str) or not self.value:
            raise self.error(f"expected a text, found {shown(self.value)}")
        return self.value

    def number(self, *, above: float | None = None, least: float | None = None) -> float:
        """Check that a number in range stands here and return it.

        Raises:
            WorkflowDefinitionError: It is none, or out of range.
        """
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            raise self.error(f"expected a number, found {shown(self.value)}")
        if above is not None and not self.value > above:
            raise self.error(f"must be above {above:g}, found {self.value}")
        if least is not None and self.value < least:
            raise self.error(f"must be at least {least:g}, found {self.value}")
        return self.value

    def count(self, *, least: int, most: int) -> int:
        """Check that a whole number in range stands here and return it.

        Raises:
            WorkflowDefinitionError: It is none, or out of range.
        """
        if isinstance(self.value, bool) or not isinstance(self.value, int):
            raise self.error(f"expected a whole number, found {shown(self.value)}")
        if not least <= self.value <= most:
            raise self.error(f"must be from {least} to {most}, found {self.value}")
        return self.value


def shown(value: object) -> str:
    """Say what `value` is, in YAML's words."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, list) else repr(value)


def read_yaml(path: Path) -> tuple[YamlNode, str]:
    """Read a file; return its root, and the comment that it opens with.

    Raises:
        WorkflowDefinitionError: It cannot be read, is too large, is not YAML, or repeats a key.
    """
    file = path.name
    try:
        raw = path.read_bytes()
        if len(raw) > MAX_FILE_BYTES:
            raise WorkflowDefinitionError(f"larger than {MAX_FILE_BYTES} bytes", file=file)
        text = raw.decode("utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as exc:
        raise WorkflowDefinitionError(f"cannot be read: {exc.strerror}", file=file) from exc
    except UnicodeDecodeError as exc:
        raise WorkflowDefinitionError("is not UTF-8", file=file) from exc
    except yaml.MarkedYAMLError as exc:
        line = exc.problem_mark.line + 1 if exc.problem_mark else 0
        raise WorkflowDefinitionError(f"is not YAML: {exc.problem}", file=file, line=line) from exc
    except yaml.YAMLError as exc:
        raise WorkflowDefinitionError(f"is not YAML: {exc}", file=file) from exc
    if root is None:
        raise WorkflowDefinitionError("is empty", file=file)
    lines: dict[Path_, int] = {(): 1}
    value = _walk(root, (), lines, file)
    return YamlNode(value=value, file=file, lines=lines), _opening_comment(text)


def _walk(node: yaml.Node, path: Path_, lines: dict[Path_, int], file: str) -> object:
    if isinstance(node, yaml.MappingNode):
        result: dict[str, object] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise WorkflowDefinitionError("a key must be a text", file=file, line=line)
            key = str(key_node.value)
            if key in result:
                raise WorkflowDefinitionError("the key is there twice", file=file, line=line, key=key)
            way = (*path, key)
            lines[way] = line
            result[key] = _walk(value_node, way, lines, file)
        return result
    if isinstance(node, yaml.SequenceNode):
        items = []
        for index, item in enumerate(node.value):
            lines[(*path, index)] = item.start_mark.line + 1
            items.append(_walk(item, (*path, index), lines, file))
        return items
    return _scalar(node, file)


def _scalar(node: yaml.Node, file: str) -> object:
    if node.tag == _BOOL_TAG and node.value.lower() not in ("true", "false"):
        return node.value
    line = node.start_mark.line + 1
    try:
        value: object = yaml.SafeLoader("").construct_object(node)
    except yaml.YAMLError as exc:
        raise WorkflowDefinitionError("a value of a kind that is not known", file=file, line=line) from exc
    return value


def _opening_comment(text: str) -> str:
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line[1:].removeprefix(" "))
    return "\n".join(lines)
