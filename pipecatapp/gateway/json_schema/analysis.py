"""Analysis of JSON schemas: references, types, and whether two schemas overlap.

It owns reading; what becomes of a schema is `translate`'s.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from pipecatapp.gateway.json_schema.keywords import TYPES, VALUES

_MAX_DEPTH = 16
"""How deep two schemas are compared; below that they are taken to overlap."""


def is_instance(value: Any, kind: str) -> bool:
    """Whether a JSON value has a type."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    match kind:
        case "integer":
            return is_number and math.isfinite(value) and value == int(value)
        case "number":
            return is_number
    of = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
    return isinstance(value, of[kind])


def escaped(name: str) -> str:
    """Return a name as a part of a JSON pointer (RFC 6901, section 3)."""
    return name.replace("~", "~0").replace("/", "~1")


def resolve_reference(root: Any, reference: Any) -> tuple[Any] | None:
    """Return what a reference leads to, in a tuple of its own; None when that is nothing of this schema."""
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        return None
    value = root
    for part in unquote(reference).split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isascii() and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return (value,)


def may_overlap(root: Any, first: Any, second: Any, depth: int = 0) -> bool:
    """Whether there may be a value that two schemas allow; False is certain.

    Args:
        root: Where references begin.
        first: A schema.
        second: Another.
        depth: How deep the comparison is already.
    """
    if depth > _MAX_DEPTH:
        return True
    first, second = _followed(root, first), _followed(root, second)
    if not isinstance(first, dict) or not isinstance(second, dict):
        return first is not False and second is not False
    for one, other in ((first, second), (second, first)):
        for name in ("anyOf", "oneOf"):
            if isinstance(branches := one.get(name), list):
                return any(may_overlap(root, branch, other, depth + 1) for branch in branches)
    shared = _types(first) & _types(second)
    if not shared:
        return False
    values, others = _values(first), _values(second)
    if values is not None and others is not None:
        return any(_are_alike(value, other) for value in values for other in others)
    return shared != {"object"} or not _differ_by_property(root, first, second, depth)


def _followed(root: Any, schema: Any) -> Any:
    for _ in range(_MAX_DEPTH):
        if not isinstance(schema, dict) or "$ref" not in schema:
            break
        found = resolve_reference(root, schema["$ref"])
        schema = found[0] if found else {}
    return schema


def _types(schema: Mapping[str, Any]) -> set[str]:
    """Return the types of the values that a schema may allow; every integer is a number as well."""
    values = _values(schema)
    if values is not None:
        return {kind for kind in TYPES if any(is_instance(value, kind) for value in values)}
    given = schema.get("type", TYPES)
    kinds = {given} if isinstance(given, str) else set(given)
    return kinds | ({"integer"} if "number" in kinds else set())


def _values(schema: Mapping[str, Any]) -> list[Any] | None:
    for name in VALUES:
        if name in schema:
            value = schema[name]
            return value if name == "enum" and isinstance(value, list) else [value]
    return None


def _are_alike(value: Any, other: Any) -> bool:
    """Whether two JSON values are the same; to Python true is 1 as well, which refuses one more."""
    return bool(value == other)


def _differ_by_property(root: Any, first: Mapping[str, Any], second: Mapping[str, Any], depth: int) -> bool:
    """Whether no object fits both, because both require a property that cannot be alike."""
    for one, other in ((first, second), (second, first)):
        properties, others = _properties(one), _properties(other)
        for name in _required(one):
            if name not in others:
                if other.get("additionalProperties") is False:
                    return True
            elif not may_overlap(
                root, properties.get(name, {}), others[name], depth + 1
            ) and name in _required(other):
                return True
    return False


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    found = schema.get("properties")
    return found if isinstance(found, dict) else {}


def _required(schema: Mapping[str, Any]) -> list[str]:
    found = schema.get("required")
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
