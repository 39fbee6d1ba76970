"""Translates a JSON schema into what llama.cpp enforces, and refuses what it would not.

It owns which keywords are enforced and which are refused. llama.cpp's converter
(github.com/ggml-org/llama.cpp, common/json-schema.cpp and json-schema-to-grammar.cpp) passes over what it
does not know, and over a good deal beside what it knows: `minLength` beside `pattern`, all beside `anyOf`. So
a schema is read here and written anew in the words that it keeps to exactly. The answer may be bound more
tightly than the schema asks, never less. docs/gateway.md has the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from pipecatapp.errors import GatewayError
from pipecatapp.gateway.json_schema.analysis import escaped, is_instance, may_overlap, resolve_reference
from pipecatapp.gateway.json_schema.keywords import (
    ANNOTATIONS,
    COMPOSITIONS,
    DEFINITIONS,
    ENFORCED,
    REFUSED,
    TYPES,
    VALUES,
)
from pipecatapp.gateway.json_schema.scalars import Refusals, Scalars

MAX_DEPTH = 64
"""Schemas inside schemas."""
MAX_SCHEMAS = 5000
"""Schemas of one request, with all inside them: OpenAI's limit of properties."""


def constrain_schema(schema: Any, place: str, *, param: str, is_strict: bool = True) -> dict[str, Any]:
    """Return a schema that llama.cpp keeps to, and whose every value `schema` allows.

    Args:
        schema: As a program wrote it.
        place: Where it is in the request, for errors: `response_format.json_schema.schema`.
        param: The request's parameter.
        is_strict: What cannot be enforced is refused; else it is left out.

    Raises:
        GatewayError: `invalid_json_schema`; the message names the keyword and its place.
    """
    return _Translator(schema, Refusals(place, param, is_strict)).bind()


class _Translator:
    """Writes one schema anew."""

    def __init__(self, root: Any, refusals: Refusals) -> None:
        self._root = root
        self._refusals = refusals
        self._leaves = Scalars(refusals)
        self._count = 0
        self._names: dict[str, str] = {}
        self._definitions: dict[str, Any] = {}
        self._leads_to: dict[str, set[str]] = {}
        """Definitions that a definition refers to with nothing written in between."""

    def bind(self) -> dict[str, Any]:
        try:
            schema = self._node(self._root, "#", "", 0)
            self._check_circles()
        except GatewayError:
            if self._refusals.is_strict or self._count > MAX_SCHEMAS:
                raise
            return {"type": "object"}
        return {**schema, "$defs": self._definitions} if self._definitions else schema

    def _node(self, schema: Any, at: str, owner: str, depth: int) -> dict[str, Any]:
        """Return what is sent for one schema.

        Args:
            schema: As it came.
            at: Its place, a JSON pointer.
            owner: The definition whose value is this very one; "" when it is inside another.
            depth: Schemas around it.
        """
        self._count += 1
        if depth > MAX_DEPTH or self._count > MAX_SCHEMAS:
            raise self._refusals.wrong(at, f"it has more than {MAX_DEPTH} levels or {MAX_SCHEMAS} schemas")
        if schema is True:
            return {}
        if not isinstance(schema, dict):
            self._refusals.refuse(
                at, "false allows nothing" if schema is False else "a schema must be an object"
            )
            return {}
        words = self._known_words(schema, at)
        if "$ref" in words:
            self._alone(words, "$ref", (), at)
            return self._reference(words["$ref"], f"{at}/$ref", owner, depth)
        for name in COMPOSITIONS:
            if name in words:
                return self._composed(name, words, at, owner, depth)
        kinds = self._kinds(words, at)
        for name in VALUES:
            if name in words:
                self._alone(words, name, ("type",), at)
                return self._values(name, words[name], kinds, at)
        if kinds is None:
            return {}
        found = [self._typed(kind, words, at, depth) for kind in kinds]
        return found[0] if len(found) == 1 else {"anyOf": found}

    def _known_words(self, schema: Mapping[str, Any], at: str) -> dict[str, Any]:
        """Return the keywords that say something about a value; others are refused."""
        words = {}
        for name, value in schema.items():
            if name in ANNOTATIONS or name in DEFINITIONS or name.startswith("x-"):
                continue
            if name == "$id" and at == "#":
                continue
            if name in ENFORCED:
                words[name] = value
            elif name not in REFUSED:
                self._refusals.refuse(f"{at}/{escaped(name)}", f"{name!r} is no keyword that is known")
            elif value is not REFUSED[name].harmless:
                self._refusals.refuse(f"{at}/{name}", REFUSED[name].why)
        return words

    def _alone(self, words: Mapping[str, Any], name: str, others: Sequence[str], at: str) -> None:
        for other in words:
            if other != name and other not in others:
                self._refusals.refuse(f"{at}/{other}", f"{other} beside {name} has no effect")

    def _reference(self, reference: Any, at: str, owner: str, depth: int) -> dict[str, Any]:
        target = resolve_reference(self._root, reference)
        if target is None:
            self._refusals.refuse(at, f"there is no {reference!r} in this schema; references begin with #/")
            return {}
        name = self._names.get(reference)
        if name is None:
            # Names of our own: the converter reads no escapes of a pointer, nor "#".
            name = self._names[reference] = f"d{len(self._names)}"
            self._leads_to[name] = set()
            self._definitions[name] = {}
            self._definitions[name] = self._node(target[0], unquote(reference), name, depth + 1)
        if owner:
            self._leads_to[owner].add(name)
        return {"$ref": f"#/$defs/{name}"}

    def _check_circles(self) -> None:
        """Refuse a definition that is its own value: no grammar ends there."""
        references = {name: reference for reference, name in self._names.items()}
        for name in self._leads_to:
            seen: set[str] = set()
            left = list(self._leads_to[name])
            while left:
                other = left.pop()
                if other == name:
                    raise self._refusals.wrong(unquote(references[name]), "$ref leads back to itself")
                if other not in seen:
                    seen.add(other)
                    left += self._leads_to[other]

    def _composed(
        self, name: str, words: Mapping[str, Any], at: str, owner: str, depth: int
    ) -> dict[str, Any]:
        here = f"{at}/{name}"
        branches = words[name]
        if not isinstance(branches, list) or not branches:
            self._refusals.refuse(here, f"{name} must be a list of schemas")
            return {}
        if name == "allOf":
            self._alone(words, name, (), at)
            if len(branches) > 1:
                self._refusals.refuse(here, "allOf with more than one schema; write them as one")
            return self._node(branches[0], f"{here}/0", owner, depth + 1)
        self._alone(words, name, ("type",), at)
        if "type" in words:
            branches = self._with_type(branches, words["type"], at)
        if name == "oneOf":
            self._check_overlaps(branches, here)
        return {
            "anyOf": [
                self._node(branch, f"{here}/{index}", owner, depth + 1)
                for index, branch in enumerate(branches)
            ]
        }

    def _with_type(self, branches: Sequence[Any], wanted: Any, at: str) -> Sequence[Any]:
        """Return branches that have the type that is beside them."""
        plain = [
            branch
            if isinstance(branch, dict) and branch.get("type") == wanted
            else {**branch, "type": wanted}
            for branch in branches
            if isinstance(branch, dict)
            and branch.get("type", wanted) == wanted
            and not any(name in branch for name in ("$ref", *COMPOSITIONS))
        ]
        if len(plain) < len(branches):
            self._refusals.refuse(
                f"{at}/type", "type beside anyOf or oneOf; write it into each of the schemas"
            )
            return branches
        return plain

    def _check_overlaps(self, branches: Sequence[Any], here: str) -> None:
        for later, second in enumerate(branches):
            for earlier, first in enumerate(branches[:later]):
                if may_overlap(self._root, first, second):
                    self._refusals.refuse(
                        here, f"a value may match both {earlier} and {later}; ask for anyOf"
                    )
                    return

    def _kinds(self, words: Mapping[str, Any], at: str) -> list[str] | None:
        """Return the types that a value may have; None for any."""
        given = words.get("type")
        if given is None:
            told = {name: ENFORCED[name][0] for name in words if ENFORCED[name]}
            found = set(told.values())
            if len(found) > 1:
                self._refusals.refuse(at, f"{' and '.join(told)} need a type beside them")
            return sorted(found)[:1] or None
        kinds: Any = [given] if isinstance(given, str) else given
        if not isinstance(kinds, list) or not kinds or not all(kind in TYPES for kind in kinds):
            self._refusals.refuse(f"{at}/type", f"type is one of {', '.join(TYPES)}, or a list of them")
            return None
        return list(dict.fromkeys(kinds))

    def _values(self, name: str, given: Any, kinds: list[str] | None, at: str) -> dict[str, Any]:
        here = f"{at}/{name}"
        values = [given] if name == "const" else given
        if not isinstance(values, list) or not values:
            self._refusals.refuse(here, f"{name} must be a list with something in it")
            return {}
        fitting = [
            value for value in values if kinds is None or any(is_instance(value, kind) for kind in kinds)
        ]
        if not fitting:
            self._refusals.refuse(here, f"nothing in {name} has the type that is beside it")
            return {}
        return {"enum": fitting}

    def _typed(self, kind: str, words: Mapping[str, Any], at: str, depth: int) -> dict[str, Any]:
        match kind:
            case "object":
                return self._object(words, at, depth)
            case "array":
                return self._array(words, at, depth)
            case "string":
                return self._leaves.string(words, at)
            case "integer":
                return self._leaves.integer(words, at)
            case "number":
                return self._leaves.number(words, at)
        return {"type": kind}

    def _object(self, words: Mapping[str, Any], at: str, depth: int) -> dict[str, Any]:
        given, required = words.get("properties", {}), words.get("required", [])
        if not isinstance(given, dict):
            self._refusals.refuse(f"{at}/properties", "properties must be an object")
            given = {}
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            self._refusals.refuse(f"{at}/required", "required must be a list of names")
            required = []
        properties = {
            name: self._node(value, f"{at}/properties/{escaped(name)}", "", depth + 1)
            for name, value in given.items()
        }
        additional = words.get("additionalProperties")
        others: Any = additional
        if additional is not None and not isinstance(additional, bool):
            others = self._node(additional, f"{at}/additionalProperties", "", depth + 1)
        for name in required:
            if name in properties:
                continue
            if others is False:
                self._refusals.refuse(
                    f"{at}/required", f"{name!r} is required, and no property may have that name"
                )
                continue
            properties[name] = others if isinstance(others, dict) else {}
        schema: dict[str, Any] = {"type": "object"}
        if properties or others is False:
            schema["properties"] = properties
        if kept := [name for name in dict.fromkeys(required) if name in properties]:
            schema["required"] = kept
        return schema if others is None else {**schema, "additionalProperties": others}

    def _array(self, words: Mapping[str, Any], at: str, depth: int) -> dict[str, Any]:
        least = self._leaves.count_of(words, "minItems", at) or 0
        most = self._leaves.count_of(words, "maxItems", at)
        self._leaves.check_order(least, most, f"{at}/maxItems")
        items, key = words.get("prefixItems"), "prefixItems"
        if items is None and isinstance(words.get("items"), list):
            items, key = words["items"], "items"
        if isinstance(items, list) and items:
            # The converter writes exactly these.
            if not least <= len(items) or (most is not None and most < len(items)):
                self._refusals.refuse(f"{at}/{key}", f"{key} allows {len(items)} items and no other number")
            return {
                "type": "array",
                "prefixItems": [
                    self._node(item, f"{at}/{key}/{index}", "", depth + 1) for index, item in enumerate(items)
                ],
            }
        if items is not None:
            self._refusals.refuse(f"{at}/{key}", f"{key} must be a list with something in it")
        schema: dict[str, Any] = {"type": "array"}
        if "items" in words and not isinstance(words["items"], list):
            schema["items"] = self._node(words["items"], f"{at}/items", "", depth + 1)
        if least:
            schema["minItems"] = least
        return schema if most is None else {**schema, "maxItems": most}
