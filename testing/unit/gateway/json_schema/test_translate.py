"""Schemas are written anew in what llama.cpp keeps to; what it would pass over is refused by name and place.

That it does keep to it is shown on real servers (testing/e2e/test_engine_schemas.py).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pipecatapp.errors import GatewayError
from pipecatapp.gateway.json_schema.keywords import ANNOTATIONS, DEFINITIONS, ENFORCED, FORMATS, REFUSED
from pipecatapp.gateway.json_schema.translate import constrain_schema

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[4]
PLACE = "response_format.json_schema.schema"


def bound(schema: Any, *, is_strict: bool = True) -> dict[str, Any]:
    return constrain_schema(schema, PLACE, param="response_format", is_strict=is_strict)


def required(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


@pytest.mark.parametrize(
    ("schema", "sent"),
    [
        ({}, {}),
        ({"title": "x", "description": "y", "default": 1, "x-order": 2, "$schema": "z"}, {}),
        ({"type": "object", "properties": {}}, {"type": "object"}),
        ({"required": ["a"]}, {"type": "object", "properties": {"a": {}}, "required": ["a"]}),
        ({"items": True}, {"type": "array", "items": {}}),
        ({"minLength": 1}, {"type": "string", "minLength": 1}),
        ({"type": "string", "minimum": 3}, {"type": "string"}),
        ({"type": "string", "maxLength": 9999}, {"type": "string", "maxLength": 2000}),
        ({"type": ["string", "null"]}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ({"type": ["string", "null"], "enum": ["a", 1, None]}, {"enum": ["a", None]}),
        ({"const": 1.0, "type": "integer"}, {"enum": [1.0]}),
        ({"type": "integer", "minimum": 1.5}, {"type": "integer", "minimum": 2, "maximum": 10**15 - 1}),
        (
            {"type": "integer", "exclusiveMinimum": 1, "maximum": 4.5},
            {"type": "integer", "minimum": 2, "maximum": 4},
        ),
        ({"type": "integer", "format": "uint8"}, {"type": "integer", "minimum": 0, "maximum": 255}),
        ({"type": "array", "items": [{}], "additionalItems": False}, {"type": "array", "prefixItems": [{}]}),
        ({"type": "array", "uniqueItems": False}, {"type": "array"}),
        ({"allOf": [{"type": "null"}], "title": "x"}, {"type": "null"}),
        (
            {"type": "string", "anyOf": [{"maxLength": 2}, {"enum": ["long"]}]},
            {"anyOf": [{"type": "string", "maxLength": 2}, {"enum": ["long"]}]},
        ),
        (
            {"oneOf": [{"type": "string"}, {"type": "null"}]},
            {"anyOf": [{"type": "string"}, {"type": "null"}]},
        ),
        (
            {"$ref": "#/definitions/a~1b", "definitions": {"a/b": {"type": "null"}}},
            {"$ref": "#/$defs/d0", "$defs": {"d0": {"type": "null"}}},
        ),
    ],
)
def test_a_schema_is_written_in_what_is_kept_to(schema: Any, sent: Any) -> None:
    assert bound(schema) == sent


CAT, DOG = required(kind={"const": "cat"}), required(kind={"const": "dog"})


@pytest.mark.parametrize(
    ("schema", "place", "why"),
    [
        (
            required(v={"type": "string", "pattern": "(?<=x)y"}),
            "#/properties/v/pattern",
            "a lookbehind, `(?<=`",
        ),
        (required(**{"a/b~": {"not": {}}}), "#/properties/a~1b~0/not", "what a value is not"),
        ({"type": "array", "items": {"foo": 1}}, "#/items/foo", "'foo' is no keyword"),
        ({"anyOf": [{}, {"uniqueItems": True}]}, "#/anyOf/1/uniqueItems", "not compared"),
        ({"$defs": {"a": {"if": {}}}, "$ref": "#/$defs/a"}, "#/$defs/a/if", "conditions"),
        ({"type": "number", "minimum": 1}, "#/minimum", "integer only"),
        ({"exclusiveMaximum": 1}, "#/exclusiveMaximum", "integer only"),
        ({"type": "integer", "multipleOf": 5}, "#/multipleOf", "can only be 1"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "#", "nothing is allowed"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "#/maxLength", "nothing is allowed"),
        ({"type": "string", "minLength": 2001}, "#/minLength", "2000 at most"),
        ({"type": "string", "minLength": -1}, "#/minLength", "whole number"),
        ({"type": "string", "pattern": "a", "maxLength": 3}, "#/maxLength", "beside pattern"),
        ({"type": "string", "format": "date", "minLength": 3}, "#/minLength", "beside format"),
        ({"type": "string", "format": "path"}, "#/format", "date, time"),
        ({"type": "string", "pattern": 3}, "#/pattern", "must be a string"),
        ({"enum": []}, "#/enum", "something in it"),
        ({"enum": ["a"], "maxLength": 1}, "#/maxLength", "beside enum"),
        ({"type": "null", "const": 1}, "#/const", "has the type"),
        ({"type": "strin"}, "#/type", "object, array, string"),
        ({"type": []}, "#/type", "a list of them"),
        ({"maxLength": 1, "items": {}}, "#", "need a type"),
        ({"$ref": "#/$defs/none"}, "#/$ref", "there is no"),
        ({"$ref": "https://example.org/x"}, "#/$ref", "begin with #/"),
        ({"$ref": "#", "type": "null"}, "#/type", "beside $ref"),
        ({"$ref": "#"}, "#", "leads back to itself"),
        ({"anyOf": [{"$ref": "#"}, {"type": "null"}]}, "#", "leads back to itself"),
        ({"anyOf": []}, "#/anyOf", "a list of schemas"),
        ({"anyOf": [{}], "properties": {}}, "#/properties", "beside anyOf"),
        ({"type": "object", "anyOf": [{"$ref": "#"}]}, "#/type", "write it into"),
        ({"allOf": [{}, {}]}, "#/allOf", "write them as one"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "#/oneOf", "both 0 and 1"),
        ({"oneOf": [CAT, DOG, CAT]}, "#/oneOf", "both 0 and 2"),
        ({"oneOf": [{"enum": ["a", "b"]}, {"const": "b"}]}, "#/oneOf", "both 0 and 1"),
        (
            {"type": "object", "required": ["a"], "additionalProperties": False},
            "#/required",
            "'a' is required",
        ),
        ({"type": "object", "required": "a"}, "#/required", "a list of names"),
        ({"type": "object", "properties": []}, "#/properties", "an object"),
        (required(a=False), "#/properties/a", "allows nothing"),
        (required(a=3), "#/properties/a", "must be an object"),
        ({"type": "array", "prefixItems": [{}], "minItems": 2}, "#/prefixItems", "allows 1 items"),
        ({"type": "array", "prefixItems": {}}, "#/prefixItems", "a list"),
        ({"properties": {"a": {"$id": "x"}}}, "#/properties/a/$id", "an address"),
    ],
)
def test_what_would_not_be_kept_to_is_refused_by_keyword_and_place(schema: Any, place: str, why: str) -> None:
    with pytest.raises(GatewayError) as refusal:
        bound(schema)
    error = refusal.value
    assert error.message.startswith(f"{PLACE} cannot be enforced at {place}: ") and why in error.message
    assert (error.status, error.code, error.param) == (400, "invalid_json_schema", "response_format")
    assert isinstance(bound(schema, is_strict=False), dict)


@pytest.mark.parametrize(
    "branches",
    [
        [CAT, DOG],
        [{"$ref": "#/$defs/cat"}, {"$ref": "#/$defs/dog"}],
        [{"type": "string"}, {"type": ["null", "integer"]}, {"type": "array"}],
        [{"enum": ["a", "b"]}, {"const": "c"}],
        [required(a={}), {**required(b={}), "additionalProperties": False}],
        [{"anyOf": [{"type": "string"}, {"type": "null"}]}, {"type": "object"}],
    ],
)
def test_one_of_several_that_share_nothing_is_any_of_them(branches: Any) -> None:
    schema = {"oneOf": branches, "$defs": {"cat": CAT, "dog": DOG}}
    assert len(bound(schema)["anyOf"]) == len(branches)


def test_a_schema_may_hold_itself() -> None:
    tree = {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}}
    made = bound(tree)
    assert made["properties"] == made["$defs"]["d0"]["properties"]
    assert made["properties"]["children"]["items"] == {"$ref": "#/$defs/d0"}


@pytest.mark.parametrize("depth", [70, 900])
def test_a_schema_that_is_too_deep_is_refused(depth: int) -> None:
    schema: Any = {}
    for _ in range(depth):
        schema = {"items": schema}
    with pytest.raises(GatewayError, match="more than 64 levels"):
        bound(schema)


def test_a_schema_that_is_too_large_is_refused() -> None:
    with pytest.raises(GatewayError, match="5000 schemas"):
        bound({"properties": {str(number): {} for number in range(5001)}})


def test_the_documented_table_is_the_code() -> None:
    page = (ROOT / "docs" / "gateway.md").read_text(encoding="utf-8")
    table = page.split("| keyword |", 1)[1].split("\n\n", 1)[0]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| `")]
    told: dict[str, set[str]] = {"enforced": set(), "refused": set(), "says nothing": set()}
    for _, keywords, verdict, *_ in rows:
        told[verdict.strip().split(",")[0]] |= set(re.findall(r"`([^`]+)`", keywords))
    assert told["enforced"] == set(ENFORCED) | set(DEFINITIONS)
    assert told["refused"] == set(REFUSED)
    assert told["says nothing"] == set(ANNOTATIONS) | {"x-..."}
    assert all(f"`{name}`" in page for name in FORMATS)
