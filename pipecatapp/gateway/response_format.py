"""The form that a program wants an answer in: `response_format`, and llama.cpp's own `json_schema`.

It owns checking the field and what llama.cpp is sent in its place; how a schema is read is `json_schema`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipecatapp.errors import GatewayError
from pipecatapp.gateway.json_schema.translate import constrain_schema

FIELD = "response_format"
OWN_FIELD = "json_schema"
"""llama.cpp's own name for a schema."""
KINDS = ("text", "json_object", "json_schema")


def check_format(fields: Mapping[str, Any]) -> None:
    """Check that a chat's `response_format` is one; servers pass over what they cannot read.

    Raises:
        GatewayError: It is none; the message says what is valid.
    """
    wanted = fields.get(FIELD)
    if wanted is None:
        return
    if not isinstance(wanted, dict):
        raise GatewayError("invalid_type", f"{FIELD} must be an object with a type.", param=FIELD)
    kind = wanted.get("type")
    if kind not in KINDS:
        message = f"The type of {FIELD} is {', '.join(KINDS)}; {kind!r} is none of them."
        raise GatewayError("invalid_value", message, param=FIELD)
    if kind == "json_schema":
        named = wanted.get("json_schema")
        if not isinstance(named, dict) or not isinstance(named.get("schema"), dict):
            missing = f"{FIELD}.json_schema.schema"
            raise GatewayError("missing_required_parameter", f"There is no {missing}.", param=FIELD)
    if kind != "text" and fields.get("grammar"):
        message = f"An answer is bound by {FIELD} or by a grammar, not by both."
        raise GatewayError("invalid_value", message, param="grammar")


def refuse_format(fields: Mapping[str, Any]) -> None:
    """Refuse what binds a chat's answer, in a request that is none: there it would have no effect.

    Raises:
        GatewayError: It is asked for.
    """
    for name in (FIELD, OWN_FIELD):
        if fields.get(name) not in (None, {"type": "text"}):
            message = f"{name} has no effect here; ask /v1/chat/completions for JSON."
            raise GatewayError("invalid_value", message, param=name)


def binds(fields: Mapping[str, Any]) -> bool:
    """Whether an answer is to be bound to a schema."""
    return any(fields.get(name) is not None for name in (FIELD, OWN_FIELD))


def constrained_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request's fields with a schema that llama.cpp keeps to.

    Raises:
        GatewayError: `invalid_json_schema`; the message names the keyword and its place.
    """
    bound = dict(fields)
    if (own := fields.get(OWN_FIELD)) is not None:
        bound[OWN_FIELD] = constrain_schema(own, OWN_FIELD, param=OWN_FIELD)
    wanted = fields.get(FIELD)
    if isinstance(wanted, dict) and wanted.get("type") in KINDS[1:]:
        bound[FIELD] = format_of(constrain_schema(schema_of(wanted), _place(wanted), param=FIELD))
    return bound


def schema_of(wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of a `response_format` that asks for JSON and has been checked."""
    named = wanted.get("json_schema") if wanted.get("type") == "json_schema" else wanted
    schema: Any = named.get("schema") if isinstance(named, dict) else None
    # llama.cpp takes a schema beside json_object; an empty one allows any object, as OpenAI's does.
    return schema or {"type": "object"}


def format_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `response_format` that asks for `schema`."""
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


def _place(wanted: Mapping[str, Any]) -> str:
    return f"{FIELD}.json_schema.schema" if wanted.get("type") == "json_schema" else f"{FIELD}.schema"
