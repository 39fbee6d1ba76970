"""What OpenAI's own package makes of the gateway's refusals: the classes that OpenAI's server leads to."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from testing.fakes.raw_upstream import CUT, OK, RawUpstream, chunk, event, stream, whole
from testing.integration.web.test_v1 import ANSWER, SOON_S, STREAMED, House, house

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

USER: Any = [{"role": "user", "content": "hi"}]


@asynccontextmanager
async def package(it: House, key: str = "none", **headers: str) -> AsyncIterator[openai.AsyncOpenAI]:
    """Yield OpenAI's client of a house; nothing about it is special."""
    client = openai.AsyncOpenAI(
        base_url=f"{it.url}/v1", api_key=key, max_retries=0, timeout=SOON_S, default_headers=headers
    )
    async with client:
        yield client


def schema_of(pattern: str) -> Any:
    schema = {
        "type": "object",
        "properties": {"v": {"type": "string", "pattern": pattern}},
        "required": ["v"],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}


def chat(**fields: Any) -> Callable[[openai.AsyncOpenAI], Awaitable[Any]]:
    def ask(client: openai.AsyncOpenAI) -> Awaitable[Any]:
        known = {"model": "main", "messages": USER, **fields}
        return client.chat.completions.create(**known)

    return ask


WRONG: list[tuple[str, Callable[[openai.AsyncOpenAI], Awaitable[Any]], str | None, str]] = [
    (
        "pattern",
        chat(response_format=schema_of("(?<=x)y")),
        "response_format",
        r"at #/properties/v/pattern: in the pattern there is a lookbehind, `\(\?<=`, at character 1",
    ),
    (
        "schema",
        chat(response_format={"type": "json_schema"}),
        "response_format",
        "There is no response_format",
    ),
    ("kind", chat(response_format={"type": "xml"}), "response_format", "text, json_object, json_schema"),
    ("form", chat(response_format="json"), "response_format", "must be an object"),
    (
        "grammar",
        chat(response_format={"type": "json_object"}, extra_body={"grammar": 'root ::= "a"'}),
        "grammar",
        "not by both",
    ),
    ("stop", chat(stop=5), "stop", "a string or a list"),
    ("stops", chat(stop=["a", 5]), "stop", "a string or a list"),
    ("logprobs", chat(logprobs=3), "logprobs", "true or false"),
    ("logit_bias", chat(logit_bias="x"), "logit_bias", "an object"),
    ("user", chat(user=3), "user", "a string"),
    ("stream_options", chat(stream_options=3), "stream_options", "an object"),
    (
        "role",
        chat(messages=[{"role": "wizard", "content": "x"}]),
        "messages[0].role",
        "system, developer, user",
    ),
    ("no role", chat(messages=[*USER, {"content": "x"}]), "messages[1].role", "None is none of them"),
    ("no messages", chat(messages=[]), "messages", "no 'messages'"),
    ("n and tools", chat(n=2, tools=[{"type": "function", "function": {"name": "f"}}]), "n", "n must be 1"),
    (
        "completions",
        lambda client: client.completions.create(
            model="main", prompt="x", extra_body={"response_format": {"type": "json_object"}}
        ),
        "response_format",
        "ask /v1/chat/completions",
    ),
    (
        "completions' schema",
        lambda client: client.completions.create(model="main", prompt="x", extra_body={"json_schema": {}}),
        "json_schema",
        "ask /v1/chat/completions",
    ),
    (
        "voice",
        lambda client: client.audio.speech.create(model="tts-1", voice="x", input="hi"),
        "voice",
        "alloy",
    ),
    (
        "sound",
        lambda client: client.audio.transcriptions.create(model="whisper-1", file=("x.wav", b"x" * 99)),
        None,
        "no sound file",
    ),
]


@pytest.mark.parametrize(("ask", "param", "words"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
async def test_a_wrong_request_is_a_bad_request_that_names_its_parameter(
    tmp_path: Path, ask: Callable[[openai.AsyncOpenAI], Awaitable[Any]], param: str | None, words: str
) -> None:
    server = RawUpstream(whole(ANSWER))
    async with house(tmp_path, server) as it, package(it) as client:
        with pytest.raises(openai.BadRequestError, match=words) as caught:
            await ask(client)
    assert (caught.value.status_code, caught.value.param) == (400, param)
    assert caught.value.type == "invalid_request_error" and server.requests == []


@pytest.mark.parametrize(
    "ask",
    [
        chat(model="nobody"),
        lambda client: client.models.retrieve("nobody"),
        lambda client: client.audio.speech.create(model="nobody", voice="alloy", input="hi"),
        lambda client: client.embeddings.create(model="nobody", input="hi"),
        lambda client: client.audio.transcriptions.create(model="nobody", file=("x.wav", b"x")),
    ],
)
async def test_a_model_that_does_not_exist_is_not_found_and_lists_those_that_do(
    tmp_path: Path, ask: Callable[[openai.AsyncOpenAI], Awaitable[Any]]
) -> None:
    async with house(tmp_path, RawUpstream(whole(ANSWER))) as it, package(it) as client:
        with pytest.raises(openai.NotFoundError, match="'nobody'.*valid: (default|main)") as caught:
            await ask(client)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


async def test_keys_limits_and_origins_have_their_own_classes(tmp_path: Path) -> None:
    async with house(tmp_path, RawUpstream(whole(ANSWER))) as it:
        async with package(it, "twin-wrong") as client:
            with pytest.raises(openai.AuthenticationError) as unknown:
                await client.models.list()
        async with package(it, Origin="http://evil.example") as client:
            with pytest.raises(openai.PermissionDeniedError):
                await client.models.list()
        async with package(it, await it.key(requests=1)) as client:
            await client.models.list()
            with pytest.raises(openai.RateLimitError, match="1 requests a minute") as limited:
                await client.models.list()
    assert unknown.value.code == "invalid_api_key"
    assert int(limited.value.response.headers["retry-after"]) > 0


GARBLED = "The model produced output that does not match the expected peg-native format"


@pytest.mark.parametrize(
    ("servers", "words"),
    [
        ([], "No language model answers"),
        ([RawUpstream([CUT])], "broke the connection"),
        (
            [RawUpstream(whole({"error": {"code": 500, "message": GARBLED, "type": "server_error"}}, 500))],
            "not of the form that was asked for",
        ),
    ],
)
async def test_what_is_the_houses_fault_is_a_server_error(
    tmp_path: Path, servers: list[RawUpstream], words: str
) -> None:
    async with house(tmp_path, *servers) as it, package(it) as client:
        with pytest.raises(openai.InternalServerError, match=words) as caught:
            await client.chat.completions.create(model="main", messages=USER)
    assert caught.value.type == "server_error"


async def test_a_request_that_is_too_large_says_how_large_it_may_be(tmp_path: Path) -> None:
    async with house(tmp_path) as it, package(it) as client:
        with pytest.raises(openai.APIStatusError, match="larger than 26214400 bytes") as caught:
            await client.audio.transcriptions.create(model="whisper-1", file=("x.wav", bytes(27_000_000)))
    assert caught.value.status_code == 413


async def test_a_stream_that_breaks_off_raises_what_was_told(tmp_path: Path) -> None:
    broken = RawUpstream([OK, chunk(event("half ")), CUT], pause_s=0.05)
    async with house(tmp_path, broken) as it, package(it) as client:
        answer = await client.chat.completions.create(model="main", messages=USER, stream=True)
        heard = []
        with pytest.raises(openai.APIError, match="broke the connection"):
            async for part in answer:
                heard.append(part.choices[0].delta.content)
    assert heard == ["half "]


async def test_what_llama_cpp_says_of_a_field_names_it(tmp_path: Path) -> None:
    words = "Field 'n': [json.exception.type_error.302] type must be number, but is string"
    refusal = {"error": {"code": 400, "message": words, "type": "invalid_request_error"}}
    async with house(tmp_path, RawUpstream(whole(refusal, 400))) as it, package(it) as client:
        with pytest.raises(openai.BadRequestError, match="n: type must be number, but is string") as caught:
            await client.chat.completions.create(model="main", messages=USER, n="two")  # type: ignore[call-overload]
    assert caught.value.param == "n"


async def test_fields_that_are_the_servers_reach_it_and_unknown_ones_do_no_harm(tmp_path: Path) -> None:
    server = RawUpstream(whole(ANSWER))
    fields: Any = {"n": 2, "seed": 7, "user": "me", "logprobs": True, "top_logprobs": 2, "stop": ["a"]}
    async with house(tmp_path, server) as it, package(it) as client:
        await client.chat.completions.create(
            model="main", messages=USER, extra_body={"no_such_field": [1], "metadata": {"a": "b"}}, **fields
        )
    sent = json.loads(server.requests[0][2])
    assert sent == {
        "model": "main",
        "messages": USER,
        "no_such_field": [1],
        "metadata": {"a": "b"},
        **fields,
        **STREAMED,
    }


async def test_a_schema_is_sent_in_words_that_the_server_keeps_to(tmp_path: Path) -> None:
    server = RawUpstream(stream(event('{"v":"ab\\\\!"}')))
    async with house(tmp_path, server) as it, package(it) as client:
        answer = await client.chat.completions.create(
            model="main", messages=USER, response_format=schema_of(r"^ab\\!$"), stream=True
        )
        text = "".join([part.choices[0].delta.content or "" async for part in answer])
    sent = json.loads(server.requests[0][2])["response_format"]["json_schema"]["schema"]
    assert sent["properties"]["v"] == {"type": "string", "pattern": r"^(?:ab(?:\x5C[\x5C])\x21)$"}
    assert json.loads(text) == {"v": "ab\\!"}
