"""What of a JSON schema llama.cpp's own converter keeps to, in both engines: the table of docs/gateway.md.

A real server is sent schemas, and tells the grammar that it made of each. A grammar is the whole truth about
an answer, so it is asked which texts it allows, and texts are made of it by chance and held against the
schema by a validator that knows nothing of grammars.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import AsyncIterator
from datetime import datetime, time
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError

from pipecatapp.adapters.llm.server_process import (
    CommandBuilder,
    LlmServerProcess,
    llama_server_command,
    xllamacpp_command,
)
from pipecatapp.errors import GatewayError
from pipecatapp.gateway.json_schema.keywords import ENFORCED, FORMATS, REFUSED
from pipecatapp.gateway.json_schema.translate import constrain_schema
from pipecatapp.gateway.response_format import format_of
from testing.e2e.engine_models import SMOLLM, llama_binary, model
from testing.gbnf import Grammar

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

RULE = "response-format"
"""How the server calls the rule that it makes of a `response_format`."""
SAMPLES = 25
ENGINES = ("xllamacpp", "llama-server")


def telling_command(engine: str) -> CommandBuilder:
    """Return the command of an engine that tells its grammars."""
    options = {"threads": 1, "context": 1024, "slots": 1}
    if engine == "llama-server":
        return llama_server_command(llama_binary(), model(SMOLLM), **options, more=("--verbose",))
    plain = xllamacpp_command(model(SMOLLM), **options)

    def build(port: int) -> list[str]:
        return [
            "testing.e2e.telling_llama" if word == "pipecatapp.adapters.llm.xllamacpp_server" else word
            for word in plain(port)
        ]

    return build


class Converter:
    """A server's converter."""

    def __init__(self, http: httpx.AsyncClient, url: str) -> None:
        self._http = http
        self._url = url

    async def ask(self, schema: Any) -> httpx.Response:
        """Send a schema as it is."""
        body = {
            "messages": [{"role": "user", "content": "hi"}],
            "max_tokens": 1,
            "response_format": format_of(schema),
        }
        return await self._http.post(f"{self._url}/chat/completions", json=body)

    async def grammar(self, schema: Any) -> Grammar:
        """Return what it makes of a schema."""
        answer = await self.ask(schema)
        assert answer.status_code == 200, (schema, answer.text)
        return Grammar(answer.json()["__verbose"]["generation_settings"]["grammar"])


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=ENGINES)
async def converter(request: pytest.FixtureRequest) -> AsyncIterator[Converter]:
    server = LlmServerProcess(telling_command(request.param), name=request.param, nice=0)
    await server.start()
    headers = {"Authorization": f"Bearer {server.api_key}"}
    async with httpx.AsyncClient(headers=headers, timeout=60, trust_env=False) as http:
        yield Converter(http, server.base_url)
    await server.close()


FORMS = FormatChecker(formats=("date", "email", "ipv4", "ipv6", "uuid", "regex"))
"""Formats by the validator's own means; those that it needs other packages for are below."""


@FORMS.checks("date-time", raises=ValueError)
def is_date_time(text: str) -> bool:
    return "T" in text and datetime.fromisoformat(text).tzinfo is not None


@FORMS.checks("time", raises=ValueError)
def is_time(text: str) -> bool:
    return time.fromisoformat(text).tzinfo is not None


@FORMS.checks("duration")
def is_duration(text: str) -> bool:
    return bool(re.fullmatch(r"P(?=.)(\d+W|(\d+Y)?(\d+M)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+S)?)?)", text))


@FORMS.checks("hostname")
def is_hostname(text: str) -> bool:
    labels = text.split(".")
    return len(text) < 254 and all(re.fullmatch(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)", label) for label in labels)


@FORMS.checks("uri", raises=ValueError)
def is_uri(text: str) -> bool:
    parts = urlsplit(text)
    return bool(parts.scheme) and is_hostname(parts.hostname or "") and (parts.port or 0) < 65_536


def valid(schema: Any, text: str) -> bool:
    """Return whether a text is JSON that a schema allows, by a validator of its own."""
    try:
        Draft202012Validator(schema, format_checker=FORMS).validate(json.loads(text))
    except (ValidationError, ValueError):
        return False
    return True


def pattern(text: str) -> dict[str, Any]:
    return {"type": "string", "pattern": text}


def required(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


TREE = {"type": "object", "properties": {"left": {"$ref": "#"}, "value": {"type": "integer"}}}
UNION = {
    "oneOf": [
        required(kind={"const": "cat"}, lives={"type": "integer"}),
        required(kind={"const": "dog"}, name={"type": "string"}),
    ]
}

CASES: list[tuple[str, Any, list[str], list[str]]] = [
    # Keyword, schema, texts that it allows and that an answer may have, texts that it does not allow.
    ("type", {"type": "boolean"}, ["true", "false"], ["null", '"true"', "1"]),
    ("type", {"type": "null"}, ["null"], ["false"]),
    ("type", {"type": "number"}, ["1", "-2.5", "1e9"], ['"1"', "true"]),
    ("type", {"type": ["integer", "null"]}, ["7", "null"], ["7.5", '"7"']),
    ("type", {"type": ["string", "integer"], "minLength": 2}, ["7", '"ab"'], ['"a"']),
    ("enum", {"enum": ["a", 'say "x"', 1, None]}, ['"a"', r'"say \"x\""', "1", "null"], ['"b"', "2"]),
    ("enum", {"type": "string", "enum": ["a", 1]}, ['"a"'], ["1"]),
    ("const", {"const": {"a": [1, "é"]}}, ['{"a":[1,"é"]}'], ['{"a":[2,"é"]}']),
    ("$ref", TREE, ["{}", '{"left":{"value":1}}'], ['{"left":3}', '{"left":{"value":"x"}}']),
    (
        "$ref",
        {"$defs": {"a/b": {"type": "integer"}}, **required(x={"$ref": "#/$defs/a~1b"})},
        ['{"x":1}'],
        ['{"x":"1"}', "{}"],
    ),
    ("allOf", {"allOf": [{"type": "integer"}]}, ["3"], ['"3"']),
    ("anyOf", {"anyOf": [{"type": "integer"}, {"const": "x"}]}, ["3", '"x"'], ['"y"']),
    (
        "oneOf",
        UNION,
        ['{"kind":"cat","lives":9}', '{"kind":"dog","name":"Rex"}'],
        ['{"kind":"cat","name":"Rex"}', '{"kind":"cow"}'],
    ),
    ("properties", {"properties": {"a": {"type": "integer"}}}, ["{}", '{"a":1}'], ['{"a":"1"}']),
    ("required", required(a={"type": "integer"}, b={}), ['{"a":1,"b":[]}'], ['{"a":1}', "{}"]),
    ("required", {"type": "object", "required": ["a"]}, ['{"a":1}'], ["{}"]),
    (
        "additionalProperties",
        {"type": "object", "properties": {"a": {"type": "null"}}, "additionalProperties": False},
        ["{}", '{"a":null}'],
        ['{"b":null}'],
    ),
    (
        "additionalProperties",
        {
            "type": "object",
            "properties": {"ab": {"type": "null"}},
            "additionalProperties": {"type": "boolean"},
        },
        ['{"ab":null,"abc":true}', '{"x":false}'],
        ['{"ab":true}', '{"abc":null}'],
    ),
    (
        "additionalProperties",
        {"type": "object", "additionalProperties": {"type": "integer"}},
        ['{"x":1}'],
        ['{"x":""}'],
    ),
    ("items", {"type": "array", "items": {"type": "integer"}}, ["[]", "[1, 2]"], ['["a"]']),
    ("prefixItems", {"type": "array", "prefixItems": [{"type": "integer"}, {}]}, ['[1, "x"]'], ['["x", 1]']),
    (
        "additionalItems",
        {"type": "array", "prefixItems": [{"type": "integer"}], "additionalItems": False},
        ["[1]"],
        ['["x"]'],
    ),
    (
        "minItems",
        {"type": "array", "items": {"type": "integer"}, "minItems": 2},
        ["[1,2]", "[1,2,3]"],
        ["[1]", "[]"],
    ),
    ("maxItems", {"type": "array", "maxItems": 2}, ["[]", "[1,2]"], ["[1,2,3]"]),
    ("maxItems", {"type": "array", "maxItems": 0}, ["[]"], ["[1]"]),
    ("minLength", {"type": "string", "minLength": 2}, ['"ab"', r'"\n\n"'], ['""', '"a"']),
    ("maxLength", {"type": "string", "maxLength": 2}, ['""', '"ab"'], ['"abc"']),
    ("maxLength", {"type": "string", "maxLength": 50_000}, ['"abc"'], [f'"{"x" * 50_001}"']),
    (
        "format",
        {"type": "string", "format": "date"},
        ['"2026-12-31"', '"2028-02-29"', '"2000-02-29"'],
        ['"2026-13-01"', '"2026-02-29"', '"2100-02-29"', '"2026-04-31"', '"tomorrow"'],
    ),
    ("format", {"type": "string", "format": "time"}, ['"12:30:00Z"'], ['"25:00:00Z"', '"noon"']),
    ("format", {"type": "string", "format": "date-time"}, ['"2026-12-01T12:30:00Z"'], ['"2026-12-01"']),
    (
        "format",
        {"type": "string", "format": "uuid"},
        ['"123e4567-e89b-12d3-a456-426614174000"'],
        ['"123e4567"'],
    ),
    ("format", {"type": "integer", "format": "uint8"}, ["0", "255"], []),
    (
        "minimum",
        {"type": "integer", "minimum": 12},
        ["12", "13", "99", "100", "123456"],
        ["11", "2", "-12", "0"],
    ),
    ("minimum", {"type": "integer", "minimum": -3}, ["-3", "0", "12345"], ["-4", "-10"]),
    ("maximum", {"type": "integer", "maximum": -7}, ["-7", "-721"], ["-6", "0", "3", "-0721"]),
    (
        "maximum",
        {"type": "integer", "minimum": 9, "maximum": 1234},
        ["9", "10", "1234"],
        ["8", "1235", "2000"],
    ),
    ("exclusiveMinimum", {"type": "integer", "exclusiveMinimum": 2.5, "maximum": 5}, ["3", "5"], ["2", "6"]),
    ("exclusiveMaximum", {"type": "integer", "exclusiveMaximum": 5, "minimum": 3}, ["3", "4"], ["5", "2"]),
    ("multipleOf", {"type": "integer", "multipleOf": 1}, ["3"], ["3.5"]),
    ("pattern", pattern(r"^ab\\!$"), [r'"ab\\!"'], [r'"ab!"', r'"ab\!"']),
    ("pattern", pattern(r"^ab\!$"), ['"ab!"'], [r'"ab\\!"']),
    ("pattern", pattern("abc"), ['"abc"', r'"x\n\"abc\" é"'], ['"ab"', '"acb"']),
    ("pattern", pattern("^a|b$"), ['"ax"', '"xb"'], ['"xa"', '"bx"']),
    ("pattern", pattern(r"^\d{3}-\d{2,}$"), ['"123-45"', '"123-4567"'], ['"123-4"', '"12-345"']),
    ("pattern", pattern(r"^a\.*b+?$"), ['"ab"', '"a...bb"'], ['"aa.b"', '"a"']),
    ("pattern", pattern(r"^[^\d\s]$"), ['"x"', r'"\""', r'"\\"'], ['"3"', r'"\n"', '" "']),
    ("pattern", pattern(r"^.$"), ['"x"', r'"\t"', r'"\""', '"😀"'], [r'"\n"', '""', '"xy"']),
    ("pattern", pattern(r"^(?:a|b(c)?)*$"), ['""', '"abbc"'], ['"c"', '"ac"']),
    ("pattern", pattern(r"^(a?){2,3}(b|)$"), ['""', '"aaab"'], ['"aaaa"', '"ba"']),
    ("pattern", pattern(r"^[\]\-x^]\u00e9\x41$"), ['"]éA"', '"-éA"', '"^éA"'], ['"aéA"', '"]eA"']),
    ("pattern", pattern("^$"), ['""'], ['"a"']),
]


@pytest.mark.parametrize(("keyword", "schema", "good", "bad"), CASES)
async def test_what_is_enforced_is_kept_to(
    converter: Converter, keyword: str, schema: Any, good: list[str], bad: list[str]
) -> None:
    del keyword
    assert all(valid(schema, text) for text in good) and not any(valid(schema, text) for text in bad)
    grammar = await converter.grammar(constrain_schema(schema, "x", param="x"))
    assert [text for text in good if not grammar.fits(RULE, text)] == []
    assert [text for text in bad if grammar.fits(RULE, text)] == []
    chance = random.Random(0)
    made = [grammar.sample(RULE, chance) for _ in range(SAMPLES)]
    assert all(grammar.fits(RULE, text) for text in made)
    assert [text for text in made if not valid(schema, text)] == []


@pytest.mark.parametrize("form", FORMATS)
async def test_formats_that_are_patterns_are_kept_to(converter: Converter, form: str) -> None:
    schema = {"type": "string", "format": form}
    grammar = await converter.grammar(constrain_schema(schema, "x", param="x"))
    chance = random.Random(0)
    made = [grammar.sample(RULE, chance) for _ in range(SAMPLES)]
    assert [text for text in made if not valid(schema, text)] == []
    assert not grammar.fits(RULE, '"no such thing!"')


PASSED_OVER: list[tuple[str, Any, str]] = [
    # Keyword, schema, a text that it does not allow and the converter would.
    ("not", {"type": "string", "not": {"const": "x"}}, '"x"'),
    ("if", {"type": "string", "if": {"const": "x"}, "then": False}, '"x"'),
    ("then", {"type": "string", "then": False, "if": {"const": "x"}}, '"x"'),
    ("else", {"type": "string", "else": False, "if": {"const": "x"}}, '"y"'),
    ("dependentRequired", {"type": "object", "dependentRequired": {"a": ["b"]}}, '{"a":1}'),
    ("dependentSchemas", {"type": "object", "dependentSchemas": {"a": False}}, '{"a":1}'),
    ("patternProperties", {"type": "object", "patternProperties": {"^a": {"type": "null"}}}, '{"a":1}'),
    ("propertyNames", {"type": "object", "propertyNames": {"maxLength": 1}}, '{"ab":1}'),
    ("minProperties", {"type": "object", "minProperties": 1}, "{}"),
    ("maxProperties", {"type": "object", "maxProperties": 0}, '{"a":1}'),
    ("unevaluatedProperties", {"type": "object", "unevaluatedProperties": False}, '{"a":1}'),
    ("uniqueItems", {"type": "array", "uniqueItems": True}, "[1,1]"),
    ("contains", {"type": "array", "contains": {"const": 1}}, "[]"),
    ("minContains", {"type": "array", "minContains": 2, "contains": {"const": 1}}, "[1]"),
    ("maxContains", {"type": "array", "maxContains": 1, "contains": {"const": 1}}, "[1,1]"),
    ("unevaluatedItems", {"type": "array", "unevaluatedItems": False}, "[1]"),
    ("minimum", {"type": "number", "minimum": 1}, "0"),
    ("multipleOf", {"type": "integer", "multipleOf": 2}, "1"),
    ("pattern", pattern("(?<=x)y"), '"y"'),
    ("pattern", pattern(r"^(a)\1$"), '"b"'),
    ("pattern", pattern(r"^\bx$"), '"y"'),
    ("minLength", {"type": "string", "pattern": "^a*$", "minLength": 2}, '"a"'),
    ("maxLength", {"type": "string", "format": "date", "maxLength": 3}, '"2026-12-01"'),
    ("format", {"type": "string", "format": "regex"}, '"("'),
    ("anyOf", {"anyOf": [{"type": "object"}], "required": ["a"]}, "{}"),
    ("oneOf", {"oneOf": [{"type": "integer"}, {"type": "number"}]}, "1"),
    ("allOf", {"allOf": [{"type": "integer"}, {"minimum": 3}]}, "{}"),
    ("enum", {"enum": ["a", "bc"], "maxLength": 1}, '"bc"'),
    ("required", {"type": "object", "required": ["a"], "additionalProperties": False}, "{}"),
]


@pytest.mark.parametrize(("keyword", "schema", "text"), PASSED_OVER)
async def test_what_is_refused_the_converter_would_pass_over(
    converter: Converter, keyword: str, schema: Any, text: str
) -> None:
    with pytest.raises(GatewayError, match=f"#/{keyword}|#/(required|maxLength|enum)") as refusal:
        constrain_schema(schema, "x", param="response_format")
    assert (refusal.value.status, refusal.value.param) == (400, "response_format")
    assert not valid(schema, text)
    assert (await converter.grammar(schema)).fits(RULE, text)


async def test_every_keyword_has_a_case() -> None:
    assert {keyword for keyword, *_ in CASES} == set(ENFORCED)
    untried = {"dependencies", "nullable", "$id", "id", "$vocabulary"}
    untried |= {"$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor"}
    assert {keyword for keyword, *_ in PASSED_OVER} >= set(REFUSED) - untried


@pytest.mark.parametrize(
    "wrong", [{"type": "string", "minLength": 3000}, {"$ref": "#"}, {"properties": {"a": True}}]
)
async def test_what_the_converter_cannot_read_is_refused_before_or_written_anew(
    converter: Converter, wrong: Any
) -> None:
    assert (await converter.ask(wrong)).status_code == 400
