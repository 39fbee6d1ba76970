"""OpenAI's own package, the gateway and a real llama.cpp: what of a request a model's server must do."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio

from pipecatapp.adapters.llm.server_process import LlmServerProcess, xllamacpp_command
from pipecatapp.gateway.upstreams import Upstream
from testing.e2e.engine_models import SMOLLM, model
from testing.e2e.processes import eventually
from testing.integration.web.test_v1 import House, Noted, house

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

TIMEOUT_S = 120.0
FREE_S = 2.0
"""Within how long the place of a caller who left is free (seconds)."""
SLOTS = 4
COUNT: Any = [{"role": "user", "content": "Count from 1 to 20, with commas between the numbers."}]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[LlmServerProcess]:
    # One thread, and no niceness: threads that wait for each other crawl where something else runs as well.
    command = xllamacpp_command(model(SMOLLM), threads=1, context=1024, slots=SLOTS)
    process = LlmServerProcess(command, nice=0)
    await process.start()
    yield process
    await process.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(server: LlmServerProcess, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with house(tmp_path_factory.mktemp("gateway")) as it:
        watch = Noted("llama", it.seen)
        it.upstreams.servers["main"] = [
            Upstream(base_url=server.base_url, name="llama", api_key=server.api_key, observer=watch)
        ]
        yield it


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(gateway: House) -> AsyncIterator[openai.AsyncOpenAI]:
    url = f"{gateway.url}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="none", timeout=TIMEOUT_S, max_retries=0) as it:
        yield it


async def text_of(client: openai.AsyncOpenAI, **fields: Any) -> tuple[str, str]:
    """Return what was streamed, and why it ended."""
    asked = {"model": "main", "messages": COUNT, "max_tokens": 60, "temperature": 0, **fields}
    text, finish = "", ""
    async for part in await client.chat.completions.create(stream=True, **asked):
        for choice in part.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
    return text, finish


async def test_a_stop_string_that_is_cut_across_chunks_is_never_sent(client: openai.AsyncOpenAI) -> None:
    free, _ = await text_of(client)
    # Several tokens each, which come in pieces of their own.
    for start in (3, 8, 13):
        stop = free[start : start + 5]
        text, finish = await text_of(client, stop=["never said", stop])
        assert (text, finish) == (free[: free.index(stop)], "stop")
        whole = await client.chat.completions.create(
            model="main", messages=COUNT, max_tokens=60, temperature=0, stop=stop
        )
        assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == (text, "stop")


async def test_a_beginning_of_a_stop_string_that_is_none_is_sent(client: openai.AsyncOpenAI) -> None:
    free, finish = await text_of(client)
    assert await text_of(client, stop=[free[5:9] + "nothing of the kind"]) == (free, finish)


async def test_as_many_answers_come_as_are_asked_for(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="main", messages=COUNT, n=3, max_tokens=8, temperature=1.0, seed=5
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert all(choice.message.content for choice in answer.choices)
    assert answer.usage and answer.usage.completion_tokens == 24
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 24
    streamed: dict[int, str] = {}
    asked = {"model": "main", "messages": COUNT, "n": 2, "max_tokens": 8, "stream": True}
    async for part in await client.chat.completions.create(**asked):  # type: ignore[call-overload]
        for choice in part.choices:
            streamed[choice.index] = streamed.get(choice.index, "") + (choice.delta.content or "")
    assert set(streamed) == {0, 1} and all(streamed.values())


@pytest.mark.parametrize("count", [0, SLOTS + 1, "two"])
async def test_more_answers_than_there_are_places_are_refused(client: openai.AsyncOpenAI, count: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="n: ") as caught:
        await client.chat.completions.create(model="main", messages=COUNT, n=count, max_tokens=4)
    assert caught.value.param == "n"


async def test_tokens_are_told_with_their_probabilities(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="main", messages=COUNT, max_tokens=3, temperature=0, logprobs=True, top_logprobs=2
    )
    told = answer.choices[0].logprobs
    assert told and told.content and len(told.content) == 3
    assert "".join(token.token for token in told.content) == answer.choices[0].message.content
    for token in told.content:
        assert len(token.top_logprobs) == 2 and math.exp(token.logprob) <= 1
        assert token.logprob == pytest.approx(max(top.logprob for top in token.top_logprobs))


async def test_a_seed_makes_an_answer_come_again(client: openai.AsyncOpenAI) -> None:
    asked: dict[str, Any] = {"temperature": 1.5, "max_tokens": 24, "seed": 11}
    first, again, other = [
        await text_of(client, **{**asked, "seed": seed, "extra_body": {"cache_prompt": False}})
        for seed in (11, 11, 12)
    ]
    assert first == again and first != other


async def test_a_user_and_unknown_fields_change_nothing(client: openai.AsyncOpenAI) -> None:
    plain = await text_of(client)
    more = {"user": "me", "extra_body": {"no_such_field": {"a": 1}}, "metadata": {"a": "b"}, "store": False}
    assert await text_of(client, **more) == plain


async def test_thirty_three_streams_are_all_answered_whole(
    client: openai.AsyncOpenAI, gateway: House
) -> None:
    answers = await asyncio.gather(*(text_of(client, max_tokens=4) for _ in range(33)))
    assert len(answers) == 33 and all(text and finish == "length" for text, finish in answers)
    assert gateway.seen.under_way == 0


@pytest.mark.parametrize("is_stream", [True, False])
async def test_the_place_of_a_caller_who_leaves_is_free_at_once(
    client: openai.AsyncOpenAI, gateway: House, server: LlmServerProcess, is_stream: bool
) -> None:
    url = server.base_url.removesuffix("/v1") + "/slots"
    headers = {"Authorization": f"Bearer {server.api_key}"}
    async with httpx.AsyncClient(headers=headers, trust_env=False) as http:

        async def busy() -> int:
            return sum(slot["is_processing"] for slot in (await http.get(url)).json())

        async def is_busy() -> bool:
            return await busy() == 1

        async def is_idle() -> bool:
            return await busy() == 0

        endless: dict[str, Any] = {
            "model": "main",
            "messages": COUNT,
            "max_tokens": 900,
            "stream": is_stream,
            "extra_body": {"ignore_eos": True},
        }
        asking = asyncio.create_task(client.chat.completions.create(**endless))
        await eventually(is_busy, TIMEOUT_S)
        if is_stream:
            await (await asking).close()
        else:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        await eventually(is_idle, FREE_S)
        await eventually(lambda: gateway.seen.under_way == 0, FREE_S)


def bound_to(**properties: Any) -> Any:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [(r"^ab\\!$", "ab\\!"), (r"^ab\!$", "ab!"), ('^say "hi"$', 'say "hi"'), (r"^a\nb$", "a\nb")],
)
async def test_an_answer_matches_its_pattern_to_the_character(
    client: openai.AsyncOpenAI, pattern: str, wanted: str
) -> None:
    text, finish = await text_of(client, response_format=bound_to(v={"type": "string", "pattern": pattern}))
    assert (json.loads(text), finish) == ({"v": wanted}, "stop")


async def test_what_no_grammar_keeps_to_is_refused(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="#/properties/v/pattern: .*a lookbehind"):
        await text_of(client, response_format=bound_to(v={"type": "string", "pattern": "(?<=x)y"}))


async def test_wild_answers_keep_to_a_schema(client: openai.AsyncOpenAI) -> None:
    wanted = bound_to(
        day={"type": "string", "format": "date"},
        size={"type": "integer", "minimum": 3, "maximum": 17},
        kind={"enum": ["a", "b"]},
        note={"type": ["string", "null"], "maxLength": 12},
    )
    for seed in range(5):
        text, finish = await text_of(
            client, response_format=wanted, temperature=3.0, seed=seed, max_tokens=200
        )
        answer = json.loads(text)
        assert finish == "stop" and set(answer) == {"day", "size", "kind", "note"}
        assert 3 <= answer["size"] <= 17 and answer["kind"] in {"a", "b"}
        assert answer["note"] is None or len(answer["note"]) <= 12
