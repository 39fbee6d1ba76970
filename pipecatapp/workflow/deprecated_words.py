"""Node types and keys of earlier versions, which a workflow file may still use.

It owns the two tables and the warning; they go with the next version. Not here: the node types there are
(`nodes`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

from pipecatapp.workflow.yaml_source import YamlNode

log = logging.getLogger(__name__)

NODE_TYPES = {
    "fact_notice": "extract_facts",
    "match": "regex_match",
    "route": "classify_intent",
    "tool_plan": "tool_arguments",
}
"""Earlier node type to the one that is meant."""

KEYS = {
    "classify_intent": {"otherwise": "default"},
    "extract_facts": {"others": "negatives"},
    "prompt": {"opening": "few_shot"},
    "route_to_expert": {"way": "strategy", "otherwise": "default"},
    "tool_arguments": {"ending": "final_tool"},
}
"""Node type to the earlier keys of its `config`, each with the one that is meant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeprecatedWord:
    """An earlier word in a file.

    Args:
        file: The file's name.
        line: Its line, from 1.
        node: Id of the node.
        kind: What it is: "node type" or "key".
        old: The word that stands there.
        new: The word that is meant.
    """

    file: str
    line: int
    node: str
    kind: str
    old: str
    new: str

    def __str__(self) -> str:
        return (
            f"{self.file}, line {self.line}, node '{self.node}': the {self.kind} '{self.old}' is now "
            f"'{self.new}'; the next version refuses '{self.old}'"
        )


def log_deprecated(word: DeprecatedWord) -> None:
    """Write the warning to the log."""
    log.warning(
        "A workflow uses a word that the next version refuses",
        extra={
            "file": word.file,
            "line": word.line,
            "node": word.node,
            "kind": word.kind,
            "old": word.old,
            "new": word.new,
        },
    )


def current_type(place: YamlNode, warn: Callable[[DeprecatedWord], None]) -> str:
    """Return the node type that is meant by the one at `place`."""
    old = place.text()
    new = NODE_TYPES.get(old, old)
    if new != old:
        warn(_word(place, place.line, "node type", old, new))
    return new


def current_keys(place: YamlNode, node_type: str, warn: Callable[[DeprecatedWord], None]) -> YamlNode:
    """Return the `config` of a node of `node_type` with the keys that are meant.

    Raises:
        WorkflowDefinitionError: An earlier key stands beside the one that is meant.
    """
    meant = KEYS.get(node_type, {})
    if not isinstance(place.value, dict) or not meant.keys() & place.value.keys():
        return place
    value: dict[str, object] = {}
    lines = dict(place.lines)
    for key, given in cast(dict[str, object], place.value).items():
        new = meant.get(key, key)
        if new != key:
            if new in place.value:
                raise place.error(f"is the earlier word for '{new}', which is there too", key=key)
            line = lines[(*place.path, new)] = lines[(*place.path, key)]
            warn(_word(place, line, "key", key, new))
        value[new] = given
    return replace(place, value=value, lines=lines)


def _word(place: YamlNode, line: int, kind: str, old: str, new: str) -> DeprecatedWord:
    return DeprecatedWord(file=place.file, line=line, node=place.node, kind=kind, old=old, new=new)
