"""A completion request, checked as far as the gateway must know it.

It owns the request's fields that concern the gateway; all others are the server's, which is sent the very
bytes that came unless something in them has to be another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipecatapp.errors import GatewayError
from pipecatapp.gateway.response_format import binds, check_format, constrained_fields, refuse_format
from pipecatapp.gateway.upstreams import DEFAULT, Upstream

STRIPPED_FIELDS = ("id_slot", "lora")
"""Fields of llama.cpp's own that are not passed on: they would disturb the prompt caches of conversations."""
LLAMA_FIELDS = frozenset(
    {
        *("cache_prompt", "dynatemp_exponent", "dynatemp_range", "ignore_eos", "min_keep"),
        *("mirostat", "mirostat_eta", "mirostat_tau", "n_indent", "n_keep", "n_predict", "n_probs"),
        *("parse_tool_calls", "post_sampling_probs", "reasoning_format", "repeat_last_n", "repeat_penalty"),
        *("response_fields", "return_progress", "return_tokens", "samplers", "t_max_predict_ms"),
        *("thinking_forced_open", "timings_per_token", "typical_p"),
        *("dry_allowed_length", "dry_base", "dry_multiplier", "dry_penalty_last_n", "dry_sequence_breakers"),
        *("xtc_probability", "xtc_threshold"),
    }
)
"""Other fields of llama.cpp's own, which another server may refuse
(github.com/ggml-org/llama.cpp, tools/server/README.md, `POST /completion`)."""
GRAMMARS = ("grammar", "grammar_lazy", "grammar_triggers", "json_schema")
"""The same; without them an answer would not be what was asked for."""

TYPES: Mapping[str, tuple[tuple[type, ...], str]] = {
    "stop": ((str, list), "a string or a list of strings"),
    "user": ((str,), "a string"),
    "logit_bias": ((dict, list), "an object: tokens and what is added to each"),
    "stream_options": ((dict,), "an object"),
}
"""Fields that llama.cpp passes over when they have another type, and what they must be."""
CHAT_TYPES = {**TYPES, "logprobs": ((bool,), "true or false; top_logprobs is the number")}
"""The same in a chat."""
ROLES = ("system", "developer", "user", "assistant", "tool", "function")
"""Who speaks in a chat; llama.cpp passes any word on to the model's template."""

MAX_SCHEME_CHARS = 40
"""Where in a text `://` makes a URL of it; base64, in which a picture may come, has none at all."""


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """A request for text.

    Args:
        raw: The bytes that came.
        fields: What they say.
        model: Which expert.
        is_stream: Whether the answer comes in pieces.
    """

    raw: bytes
    fields: Mapping[str, Any]
    model: str
    is_stream: bool

    def body_for(self, upstream: Upstream) -> bytes:
        """Return what is sent to `upstream`: `raw` wherever that will do.

        Raises:
            GatewayError: It takes no grammar, and one is asked for; or a schema that it would not keep to.
        """
        if upstream.model:
            return json.dumps(fields_for(upstream, self.fields)).encode()
        fields = constrained_fields(self.fields) if binds(self.fields) else self.fields
        if fields is self.fields and not any(name in fields for name in STRIPPED_FIELDS):
            return self.raw
        return json.dumps(fields_for(upstream, fields)).encode()


def fields_for(upstream: Upstream, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a request's fields that `upstream` is sent.

    Raises:
        GatewayError: It takes no grammar, and one is asked for.
    """
    kept = {name: value for name, value in fields.items() if name not in STRIPPED_FIELDS}
    if not upstream.model:
        return kept
    for name in GRAMMARS:
        if kept.get(name):
            message = f"{upstream.name} takes no grammar; ask for a JSON schema by response_format."
            raise GatewayError("invalid_value", message, param=name)
    others = (*GRAMMARS, *LLAMA_FIELDS)
    return {name: value for name, value in kept.items() if name not in others} | {"model": upstream.model}


def parse_json_object(raw: bytes) -> dict[str, Any]:
    """Return the JSON object in a request's body.

    Raises:
        GatewayError: `invalid_json`.
    """
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError) as exc:
        raise GatewayError("invalid_json", "The body is no JSON that can be read.") from exc
    if not isinstance(fields, dict):
        raise GatewayError("invalid_json", "The body must be a JSON object.")
    return fields


def text_field(fields: Mapping[str, Any], name: str, default: str = "") -> str:
    """Return a field that must be a text; `default` when it is absent or null.

    Raises:
        GatewayError: `invalid_type`.
    """
    value = fields.get(name)
    if value is None:
        return default
    if not isinstance(value, str):
        raise GatewayError("invalid_type", f"{name} must be a string.", param=name)
    return value


def parse_request(raw: bytes, needed: str) -> CompletionRequest:
    """Return what a body asks.

    Args:
        raw: The body.
        needed: The field without which there is nothing to answer: `messages` or `prompt`.

    Raises:
        GatewayError: The body is wrong; the message names the field.
    """
    fields = parse_json_object(raw)
    if not fields.get(needed):
        raise GatewayError("missing_required_parameter", f"There is no {needed!r}.", param=needed)
    is_stream = fields.get("stream") or False
    if not isinstance(is_stream, bool):
        raise GatewayError("invalid_type", "stream must be true or false.", param="stream")
    if needed == "messages":
        _check_messages(fields["messages"])
        check_format(fields)
    else:
        refuse_format(fields)
    _check_types(fields, CHAT_TYPES if needed == "messages" else TYPES)
    return CompletionRequest(raw, fields, text_field(fields, "model", DEFAULT) or DEFAULT, is_stream)


def _check_types(fields: Mapping[str, Any], types: Mapping[str, tuple[tuple[type, ...], str]]) -> None:
    for name, (kinds, told) in types.items():
        value = fields.get(name)
        is_right = value is None or isinstance(value, kinds)
        if name == "stop" and isinstance(value, list):
            is_right = all(isinstance(word, str) for word in value)
        if not is_right:
            raise GatewayError("invalid_type", f"{name} must be {told}.", param=name)


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise GatewayError("invalid_type", "messages must be a list of objects.", param="messages")
    for number, message in enumerate(messages):
        if (role := message.get("role")) not in ROLES:
            where = f"messages[{number}].role"
            text = f"{where} is {', '.join(ROLES)}; {role!r} is none of them."
            raise GatewayError("invalid_value", text, param=where)
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            _check_part(part)


def _check_part(part: Any) -> None:
    """Refuse what would make a server fetch something: llama.cpp's takes http:// and file:// URLs."""
    if not isinstance(part, dict):
        raise GatewayError("invalid_type", "Parts of a message must be objects.", param="messages")
    for value in part.values():
        for address in value.values() if isinstance(value, dict) else ():
            if isinstance(address, str) and "://" in address[:MAX_SCHEME_CHARS]:
                raise GatewayError(
                    "invalid_url",
                    "Nothing is fetched from elsewhere; send it as a data: URL.",
                    param="messages",
                )
