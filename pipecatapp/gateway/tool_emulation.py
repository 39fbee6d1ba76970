"""Tool emulation: a request with tools for a model that has none, bound by a JSON schema.

It owns the JSON schema that binds the answer to a tool's call or to words, and the messages that go with it.
Reading the answer is `tool_call_parser`'s. Small models garble calls in their own notation, and servers do
not make them keep to it; bound to a schema, whatever they say can be read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipecatapp.errors import GatewayError
from pipecatapp.gateway.json_schema.translate import constrain_schema
from pipecatapp.gateway.request import CompletionRequest, fields_for
from pipecatapp.gateway.response_format import FIELD, constrained_fields, format_of, schema_of
from pipecatapp.gateway.upstreams import Upstream

WORD_TOOL = "reply"
"""Name of the tool that stands for an answer in words; a caller's own tool of that name goes before it."""
WORDS = "text"
"""Its one argument."""
MAX_TOOLS = 128
"""Tools of one request, as OpenAI has it."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OURS = ("tools", "tool_choice", "parallel_tool_calls", "response_format", "stream_options", "logprobs")
"""Fields that are not passed on as they came."""
_REFERENCE = re.compile(r"#/(?:\$defs|definitions)/(.+)")


@dataclass(frozen=True, slots=True)
class ToolPrompts:
    """What a model is told.

    Args:
        how: How to answer.
        words: What the tool is for that stands for an answer in words.
        examples: Requests that call for words, and the words.
    """

    how: str
    words: str
    examples: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatedToolRequest:
    """A request with tools, in the form for a model that has no tools.

    Args:
        request: As it came.
        fields: What is sent in its place, but for the form of the answer.
        tools: The functions that may be called, by name; none leaves the answer's form to the caller.
        words: The schema of an answer in words; None when there must be a call.
        reply_tool: Name of the tool that stands for words.
        reply_is_text: Words are words; else they are JSON of the caller's own schema.
        wants_usage: The caller wants the number of tokens at the end of a stream.
    """

    request: CompletionRequest
    fields: Mapping[str, Any]
    tools: Mapping[str, Mapping[str, Any]]
    words: Mapping[str, Any] | None
    reply_tool: str
    reply_is_text: bool
    wants_usage: bool

    def body_for(self, upstream: Upstream) -> bytes:
        """Return what is sent to `upstream`.

        Raises:
            GatewayError: It takes no grammar, and one is asked for; or a schema that it would not keep to; or
                numbers of tokens, which a call that is read from them has no more.
        """
        if upstream.calls_tools:
            return self.request.body_for(upstream)
        if self.request.fields.get("logprobs"):
            raise GatewayError("invalid_value", "With tools there are no logprobs.", param="logprobs")
        is_llama = not upstream.model
        if self.tools:
            fields = {**self.fields, FIELD: format_of(self._schema(is_llama=is_llama))}
        elif wanted := self.request.fields.get(FIELD):
            fields = {**self.fields, **(constrained_fields({FIELD: wanted}) if is_llama else {FIELD: wanted})}
        else:
            fields = dict(self.fields)
        return json.dumps(fields_for(upstream, fields)).encode()

    def _schema(self, *, is_llama: bool) -> dict[str, Any]:
        """Return the schema of a call, or of words; for llama.cpp one that it keeps to."""
        arguments = {
            name: _bound_arguments(name, function) if is_llama else _parameters(function)
            for name, function in self.tools.items()
        }
        if self.words is not None:
            words = self.words
            if is_llama:
                words = constrain_schema(words, f"{FIELD}.json_schema.schema", param=FIELD)
            arguments[self.reply_tool] = _object({WORDS: words})
        return _schema(arguments)


def uses_tools(fields: Mapping[str, Any]) -> bool:
    """Whether a request has to do with tools."""
    return bool(fields.get("tools")) or any(
        message.get("role") == "tool" or message.get("tool_calls") for message in fields["messages"]
    )


def emulate_tools(request: CompletionRequest, prompts: ToolPrompts) -> EmulatedToolRequest:
    """Return how a request with tools is put to a model that has none.

    Raises:
        GatewayError: The tools or the choice among them are wrong; the message says what is valid.
    """
    fields = request.fields
    tools = _tools(fields.get("tools") or [])
    choice = fields.get("tool_choice") or ("auto" if tools else "none")
    chosen, allows_words = _chosen(tools, choice)
    if fields.get("n") not in (None, 1):
        raise GatewayError("invalid_value", "With tools there is one answer: n must be 1.", param="n")
    kept = {name: value for name, value in fields.items() if name not in _OURS}
    words = _schema_of_words(fields.get("response_format"))
    reply_tool = WORD_TOOL
    while reply_tool in tools:
        reply_tool += "_"
    messages = _messages(fields["messages"], reply_tool if chosen and allows_words else "")
    if chosen:
        shown = {**chosen, reply_tool: _reply_tool(prompts.words, words)} if allows_words else chosen
        examples = _examples(chosen, reply_tool, prompts.examples) if allows_words else []
        messages = _told(messages, _instructions(shown, prompts.how), examples)
    if request.is_stream:
        kept["stream_options"] = {"include_usage": True}
    options = fields.get("stream_options")
    return EmulatedToolRequest(
        request=request,
        fields={**kept, "messages": messages},
        tools=chosen,
        words=words if allows_words else None,
        reply_tool=reply_tool,
        reply_is_text=words == {"type": "string"},
        wants_usage=isinstance(options, dict) and bool(options.get("include_usage")),
    )


def _tools(given: Any) -> dict[str, Mapping[str, Any]]:
    """Return the functions by name."""
    if not isinstance(given, list) or len(given) > MAX_TOOLS:
        raise GatewayError("invalid_type", f"tools is a list of up to {MAX_TOOLS} functions.", param="tools")
    tools: dict[str, Mapping[str, Any]] = {}
    for tool in given:
        function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
        if not isinstance(function, dict):
            raise GatewayError("invalid_value", "Only tools of the type function are known.", param="tools")
        name, parameters = function.get("name"), function.get("parameters") or {}
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            message = "A function's name has up to 64 letters, digits, _ and -."
            raise GatewayError("invalid_value", message, param="tools")
        if not isinstance(parameters, dict):
            message = f"The parameters of {name} must be a JSON schema."
            raise GatewayError("invalid_type", message, param="tools")
        tools[name] = function
    return tools


def _chosen(
    tools: Mapping[str, Mapping[str, Any]], choice: Any
) -> tuple[Mapping[str, Mapping[str, Any]], bool]:
    """Return the tools that may be called, and whether words will do too."""
    if choice == "none":
        return {}, True
    if choice in ("auto", "required"):
        return tools, choice == "auto"
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or name not in tools:
        message = f"tool_choice is none, auto, required or one of the functions: {', '.join(tools) or 'none'}"
        raise GatewayError("invalid_value", message, param="tool_choice")
    return {name: tools[name]}, False


def _schema_of_words(wanted: Any) -> Mapping[str, Any]:
    if isinstance(wanted, dict) and wanted.get("type") != "text":
        return schema_of(wanted)
    return {"type": "string"}


def _reply_tool(description: str, words: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tool that stands for words: a small model chooses best among things of one form."""
    return {"description": description, "parameters": _object({WORDS: words})}


def _parameters(function: Mapping[str, Any]) -> Mapping[str, Any]:
    return function.get("parameters") or _object({})


def _bound_arguments(name: str, function: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of a function's arguments, for llama.cpp.

    What it cannot keep to is left out, as OpenAI's models keep to a schema no more than they will; unless the
    function is `strict`.
    """
    place = f"The parameters of {name}"
    return constrain_schema(
        _parameters(function), place, param="tools", is_strict=function.get("strict") is True
    )


def _schema(tools: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the schema of a call of one of `tools`, which are the schemas of their arguments by name."""
    definitions: dict[str, Any] = {}
    branches = []
    for number, (name, parameters) in enumerate(tools.items()):
        arguments = _hoisted(parameters, f"t{number}_", definitions)
        branches.append(_object({"tool": {"const": name}, "arguments": arguments}))
    schema = dict(branches[0]) if len(branches) == 1 else {"anyOf": branches}
    return {**schema, "$defs": definitions} if definitions else schema


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _hoisted(schema: Any, prefix: str, definitions: dict[str, Any]) -> Any:
    """Return `schema` with its definitions moved into `definitions`, under names that nobody else has."""
    if isinstance(schema, list):
        return [_hoisted(item, prefix, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    moved = {}
    for key, value in schema.items():
        if key in ("$defs", "definitions") and isinstance(value, dict):
            for name, definition in value.items():
                definitions[prefix + name] = _hoisted(definition, prefix, definitions)
        elif key == "$ref" and isinstance(value, str) and (found := _REFERENCE.fullmatch(value)):
            moved[key] = f"#/$defs/{prefix}{found[1]}"
        else:
            moved[key] = _hoisted(value, prefix, definitions)
    return moved


def _instructions(tools: Mapping[str, Mapping[str, Any]], how: str) -> str:
    lines = [how.strip(), "The tools:"]
    for name, function in tools.items():
        about = " ".join(str(function.get("description") or "").split())
        lines.append(f"- {name}: {about} Arguments: {json.dumps(function.get('parameters') or {})}")
    return "\n".join(lines)


def _examples(
    tools: Mapping[str, Mapping[str, Any]], reply_tool: str, words: Sequence[tuple[str, str]]
) -> list[Mapping[str, Any]]:
    """Return turns that show a call and an answer in words by turns, made of the tools' own descriptions."""
    examples: list[Mapping[str, Any]] = []
    for (name, function), (request, answer) in zip(tools.items(), words, strict=False):
        example = str(function.get("description") or name)
        called = _call(name, json.dumps(_placeholders(function.get("parameters") or {})))
        said = _call(reply_tool, json.dumps({WORDS: answer}))
        for user, assistant in ((example, called), (request, said)):
            examples += [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return examples


def _placeholders(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of the right form that say nothing."""
    found = {}
    properties = schema.get("properties")
    for name, about in properties.items() if isinstance(properties, dict) else ():
        kind = about.get("type") if isinstance(about, dict) else None
        values = about.get("enum") if isinstance(about, dict) else None
        empty = {"integer": 1, "number": 1, "boolean": True, "array": [], "object": {}}
        found[name] = values[0] if isinstance(values, list) and values else empty.get(str(kind), "...")
    return found


def _told(
    messages: Sequence[Mapping[str, Any]], instructions: str, examples: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Return messages whose system prompt ends with `instructions`, and `examples` after it."""
    first = messages[0]
    if first.get("role") in ("system", "developer"):
        told = {"role": "system", "content": f"{_text_of(first.get('content'))}\n\n{instructions}"}
        return [told, *examples, *messages[1:]]
    return [{"role": "system", "content": instructions}, *examples, *messages]


def _messages(given: Sequence[Mapping[str, Any]], reply_tool: str) -> list[Mapping[str, Any]]:
    """Return messages in which calls and results are text: templates of small models know neither.

    Args:
        given: As they came.
        reply_tool: What earlier answers in words are shown as a call of; "" leaves them.
    """
    names: dict[str, str] = {}
    messages: list[Mapping[str, Any]] = []
    was_result = False
    for message in given:
        is_result = message.get("role") == "tool"
        if is_result:
            name = names.get(str(message.get("tool_call_id")), "tool")
            text = f"Result of {name}: {_text_of(message.get('content'))}"
            if was_result:
                text = f"{messages.pop()['content']}\n{text}"
            messages.append({"role": "user", "content": text})
        elif calls := message.get("tool_calls"):
            messages.append({"role": "assistant", "content": _calls(calls, names)})
        elif message.get("role") == "assistant" and reply_tool:
            said = _call(reply_tool, json.dumps({WORDS: _text_of(message.get("content"))}))
            messages.append({"role": "assistant", "content": said})
        else:
            messages.append(message)
        was_result = is_result
    return messages


def _calls(calls: Any, names: dict[str, str]) -> str:
    """Return calls of an earlier turn as the model is to write them, and note their names by their ids."""
    lines = []
    for call in calls if isinstance(calls, list) else [calls]:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            raise GatewayError("invalid_type", "tool_calls must be calls of functions.", param="messages")
        name = str(function.get("name"))
        names[str(call.get("id"))] = name
        lines.append(_call(name, str(function.get("arguments") or "{}")))
    return "\n".join(lines)


def _call(name: str, arguments: str) -> str:
    return f'{{"tool": {json.dumps(name)}, "arguments": {arguments}}}'


def _text_of(content: Any) -> str:
    """Return the text of a message's content, which may come in parts."""
    if isinstance(content, list):
        return " ".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return str(content or "")
