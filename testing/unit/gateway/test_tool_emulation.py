"""A request with tools is put to a model that has none as a schema and plain messages."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipecatapp.errors import GatewayError
from pipecatapp.gateway.request import parse_request
from pipecatapp.gateway.tool_emulation import EmulatedToolRequest, ToolPrompts, emulate_tools, uses_tools
from pipecatapp.gateway.upstreams import Upstream

pytestmark = pytest.mark.unit

PROMPTS = ToolPrompts("Name a tool.", "Words.", [("Hello!", "Hi."), ("Thanks.", "Welcome.")])
USER = {"role": "user", "content": "Weather in Paris?"}
NATIVE = Upstream(base_url="http://a/v1", name="a", calls_tools=True)
PLAIN = Upstream(base_url="http://b/v1", name="b")


def tool(name: str = "get_weather", **parameters: Any) -> dict[str, Any]:
    schema = parameters or {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    }
    return {"type": "function", "function": {"name": name, "description": "Tells it.", "parameters": schema}}


def plan(**fields: Any) -> EmulatedToolRequest:
    body = {"model": "main", "messages": [USER], "tools": [tool()], **fields}
    return emulate_tools(parse_request(json.dumps(body).encode(), "messages"), PROMPTS)


def schema_of(made: EmulatedToolRequest) -> Any:
    return json.loads(made.body_for(PLAIN))["response_format"]["json_schema"]["schema"]


def names_in(schema: Any) -> list[str]:
    return [branch["properties"]["tool"]["const"] for branch in schema.get("anyOf", [schema])]


def test_auto_allows_every_tool_and_words() -> None:
    assert names_in(schema_of(plan(tools=[tool("one"), tool("two")]))) == ["one", "two", "reply"]


def test_required_allows_no_words() -> None:
    assert names_in(schema_of(plan(tools=[tool("one"), tool("two")], tool_choice="required"))) == [
        "one",
        "two",
    ]


def test_a_named_tool_is_the_only_one() -> None:
    choice = {"type": "function", "function": {"name": "two"}}
    assert names_in(schema_of(plan(tools=[tool("one"), tool("two")], tool_choice=choice))) == ["two"]


def test_none_leaves_words_alone() -> None:
    made = plan(tool_choice="none")
    assert "response_format" not in made.fields
    assert made.fields["messages"] == [USER]


def test_a_callers_own_tool_may_be_called_reply() -> None:
    made = plan(tools=[tool("reply")])
    assert names_in(schema_of(made)) == ["reply", "reply_"] and made.reply_tool == "reply_"


def test_the_model_is_told_of_the_tools_after_the_callers_system_prompt() -> None:
    system = {"role": "system", "content": "Be brief."}
    first = plan(messages=[system, USER]).fields["messages"][0]
    assert first["content"].startswith("Be brief.\n\nName a tool.")
    assert "get_weather" in first["content"]


def test_calls_and_results_become_text() -> None:
    call = {
        "id": "c1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"city":"Rome"}'},
    }
    messages = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call, {**call, "id": "c2"}]},
        {"role": "tool", "tool_call_id": "c1", "content": "Sunny"},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "Hot"}]},
    ]
    example, called, result = plan(messages=messages).fields["messages"][-3:]
    assert example == USER
    assert called["content"].splitlines()[0] == '{"tool": "get_weather", "arguments": {"city":"Rome"}}'
    assert result == {"role": "user", "content": "Result of get_weather: Sunny\nResult of get_weather: Hot"}


def test_messages_with_results_need_a_plan_without_tools_too() -> None:
    assert uses_tools({"messages": [{"role": "tool", "content": "x"}]})
    assert not uses_tools({"messages": [USER]})


def test_definitions_of_two_tools_do_not_meet() -> None:
    def with_place(kind: str) -> dict[str, Any]:
        return tool(
            f"go_{kind}",
            type="object",
            properties={"to": {"$ref": "#/$defs/Place"}},
            **{"$defs": {"Place": {"type": kind}}},
        )

    schema = schema_of(plan(tools=[with_place("string"), with_place("integer")]))
    assert schema["$defs"] == {"t0_d0": {"type": "string"}, "t1_d0": {"type": "integer"}}
    second = schema["anyOf"][1]["properties"]["arguments"]["properties"]["to"]
    assert second == {"$ref": "#/$defs/t1_d0"}


def test_words_follow_the_callers_own_schema() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "integer"}}}
    made = plan(response_format=wanted)
    words = schema_of(made)["anyOf"][1]["properties"]["arguments"]["properties"]["text"]
    assert (words, made.reply_is_text) == ({"type": "integer"}, False)


def test_arguments_are_bound_as_far_as_llama_cpp_keeps_to_them() -> None:
    schema = {
        "type": "object",
        "properties": {"url": {"type": "string", "pattern": "(?<=x)y"}, "many": {"type": "array"}},
        "required": ["url"],
        "minProperties": 1,
    }
    made = plan(tools=[tool("open", **schema)], tool_choice="required")
    assert schema_of(made)["properties"]["arguments"] == {
        "type": "object",
        "properties": {"url": {"type": "string"}, "many": {"type": "array"}},
        "required": ["url"],
    }


def test_a_strict_tool_is_refused_where_its_arguments_could_not_be_kept_to() -> None:
    strict = tool("open", type="object", properties={"url": {"type": "string", "format": "path"}})
    strict["function"]["strict"] = True
    with pytest.raises(
        GatewayError, match=r"of open cannot be enforced at #/properties/url/format"
    ) as caught:
        plan(tools=[strict]).body_for(PLAIN)
    assert caught.value.param == "tools"


def test_another_server_gets_schemas_as_they_came() -> None:
    schema = {"type": "object", "properties": {"v": {"type": "string", "pattern": "(?<=x)y"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    other = Upstream(base_url="http://c/v1", name="c", model="gpt-x")
    made = plan(tools=[tool("open", **schema)], response_format=wanted)
    sent = json.loads(made.body_for(other))["response_format"]["json_schema"]["schema"]["anyOf"]
    assert [one["properties"]["arguments"] for one in sent][0] == schema
    assert sent[1]["properties"]["arguments"]["properties"]["text"] == schema
    with pytest.raises(GatewayError, match="lookbehind"):
        made.body_for(PLAIN)


def test_numbers_of_tokens_are_refused_where_a_call_is_read_from_them() -> None:
    with pytest.raises(GatewayError, match="no logprobs") as caught:
        plan(logprobs=True).body_for(PLAIN)
    assert caught.value.param == "logprobs"
    assert plan(logprobs=True).body_for(NATIVE)


def test_a_model_that_calls_tools_gets_the_request_as_it_came() -> None:
    made = plan()
    assert made.body_for(NATIVE) == made.request.raw
    assert "tools" not in json.loads(made.body_for(PLAIN))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": "x"}, "tools"),
        ({"tools": [{"type": "retrieval"}]}, "tools"),
        ({"tools": [tool("has space")]}, "tools"),
        (
            {"tools": [tool()], "tool_choice": {"type": "function", "function": {"name": "other"}}},
            "tool_choice",
        ),
        ({"tools": [tool()], "tool_choice": "sometimes"}, "tool_choice"),
        ({"n": 2}, "n"),
        *(
            (
                {"tools": [tool()], "response_format": {"type": "json_schema", "json_schema": wrong}},
                "response_format",
            )
            for wrong in (True, "x", [1], None, {}, {"schema": True})
        ),
    ],
)
def test_wrong_tools_are_refused_with_their_parameter(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        plan(**fields)
    assert (caught.value.param, caught.value.status) == (param, 400)
