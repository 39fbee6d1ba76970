"""Keywords of JSON schemas: which are enforced, which are annotations, which are refused.

It owns the lists; docs/gateway.md has them as a table, and a test compares the two. How a schema is read by
them is `translate`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")
VALUES = ("enum", "const")
"""Keywords that name the values themselves."""
COMPOSITIONS = ("allOf", "anyOf", "oneOf")
DEFINITIONS = ("$defs", "definitions")
"""Where schemas wait for a reference."""

ENFORCED: Mapping[str, tuple[str, ...]] = {
    "type": (),
    "$ref": (),
    **dict.fromkeys((*VALUES, *COMPOSITIONS), ()),
    **dict.fromkeys(("properties", "required", "additionalProperties"), ("object",)),
    **dict.fromkeys(("items", "prefixItems", "additionalItems", "minItems", "maxItems"), ("array",)),
    **dict.fromkeys(("pattern", "format", "minLength", "maxLength"), ("string",)),
    **dict.fromkeys(
        ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), ("number",)
    ),
}
"""What an answer is bound to, and the type that it concerns, which is taken where none is named."""

ANNOTATIONS = frozenset(
    {
        *("$schema", "$comment", "$anchor", "title", "description", "default", "examples", "example"),
        *("deprecated", "readOnly", "writeOnly", "contentEncoding", "contentMediaType", "contentSchema"),
        *("discriminator", "externalDocs", "xml"),
    }
)
"""What says nothing about which values are allowed (JSON Schema 2020-12; the last line is OpenAPI 3.1)."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A keyword that no grammar keeps to.

    Args:
        why: For the caller, in words that follow a colon.
        harmless: The one value with which it asks for nothing.
    """

    why: str
    harmless: Any = ...


REFUSED: Mapping[str, Refused] = {
    "not": Refused("a grammar cannot say what a value is not"),
    "if": Refused("conditions; ask for anyOf"),
    "then": Refused("conditions; ask for anyOf"),
    "else": Refused("conditions; ask for anyOf"),
    "dependentRequired": Refused("one property cannot depend on another; ask for anyOf"),
    "dependentSchemas": Refused("one property cannot depend on another; ask for anyOf"),
    "dependencies": Refused("one property cannot depend on another; ask for anyOf"),
    "patternProperties": Refused("names of properties cannot be bound; ask for properties"),
    "propertyNames": Refused("names of properties cannot be bound; ask for properties"),
    "minProperties": Refused("properties are not counted; ask for required", 0),
    "maxProperties": Refused("properties are not counted; ask for additionalProperties: false"),
    "unevaluatedProperties": Refused("ask for additionalProperties", True),
    "uniqueItems": Refused("items are not compared with each other", False),
    "contains": Refused("items are bound all alike; ask for items"),
    "minContains": Refused("items are bound all alike; ask for items"),
    "maxContains": Refused("items are bound all alike; ask for items"),
    "unevaluatedItems": Refused("ask for items", True),
    "nullable": Refused('it is OpenAPI 3.0\'s; ask for the type ["...", "null"]', False),
    "$id": Refused("an address below the top changes what references mean"),
    "id": Refused("an address changes what references mean"),
    "$dynamicRef": Refused("references are followed by $ref alone"),
    "$dynamicAnchor": Refused("references are followed by $ref alone"),
    "$recursiveRef": Refused("references are followed by $ref alone"),
    "$recursiveAnchor": Refused("references are followed by $ref alone", False),
    "$vocabulary": Refused("vocabularies are not known"),
}

_DATE = (
    r"([12]\d{3}-((0[13578]|1[02])-(0[1-9]|[12]\d|3[01])|(0[469]|11)-(0[1-9]|[12]\d|30)"
    r"|02-(0[1-9]|1\d|2[0-8]))"
    r"|[12]\d(0[48]|[2468][048]|[13579][26])-02-29|(1[26]|2[048])00-02-29)"
)
_TIME = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{3})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)"
_OCTET = r"(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_LABEL = r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_HOST = rf"{_LABEL}(\.{_LABEL}){{0,3}}"
_URI_CHARS = r"[A-Za-z0-9._~!$&'()*+,;=:@-]"
FORMATS: Mapping[str, str] = {
    "date": rf"^{_DATE}$",
    "time": rf"^{_TIME}$",
    "date-time": rf"^{_DATE}T{_TIME}$",
    "duration": r"^P(\d{1,4}W|(\d{1,4}Y)?(\d{1,4}M)?\d{1,4}D"
    r"|T(\d{1,4}H)?(\d{1,4}M)?\d{1,4}S|T(\d{1,4}H)?\d{1,4}M|T\d{1,4}H)$",
    "email": rf"^[A-Za-z0-9_+-]{{1,30}}(\.[A-Za-z0-9_+-]{{1,30}})?@{_LABEL}(\.{_LABEL}){{1,2}}$",
    "hostname": rf"^{_HOST}$",
    "ipv4": rf"^{_OCTET}(\.{_OCTET}){{3}}$",
    "ipv6": r"^[0-9a-f]{1,4}(:[0-9a-f]{1,4}){7}$",
    "uri": rf"^[a-z][a-z0-9+.-]{{0,15}}://{_HOST}(:\d{{1,4}})?(/{_URI_CHARS}*)*(\?({_URI_CHARS}|/)*)?$",
    "uuid": r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
}
"""Formats, each as a pattern: the part of what it allows that is usual (RFC 3339, 5321, 1123, 2673, 4291,
3986, 4122). The converter knows four of them, and lets 31 February pass."""

INTEGER_FORMATS: Mapping[str, tuple[float, float]] = {
    "int8": (-(2**7), 2**7 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint8": (0, 2**8 - 1),
    "uint16": (0, 2**16 - 1),
    "uint32": (0, 2**32 - 1),
    "uint64": (0, 2**64 - 1),
}
"""OpenAPI's format registry: the bounds of each."""
NUMBER_FORMATS = ("double", "float")
"""The same; they bind nothing that is written."""
