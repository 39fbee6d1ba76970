"""What every `LlmClient` does.

It owns the claims; who makes the client is the test module's business: subclass `LlmSuite` and give a
fixture `llm` whose model answers "Count to fifty" with more than eight tokens.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing

import pytest

from pipecatapp.errors import AdapterError
from pipecatapp.ports import ChatDelta, ChatRequest, LlmClient, Message

COUNT = Message("user", "Count from one to fifty, in words.")
FREE_S = 60
"""Time in which a freed model answers a few tokens on a machine that does much else (seconds)."""
SCHEMA = {
    "type": "object",
    "properties": {"tool": {"enum": ["time", "answer"]}, "sure": {"type": "boolean"}},
    "required": ["tool", "sure"],
    "additionalProperties": False,
}


async def collect(llm: LlmClient, request: ChatRequest) -> list[ChatDelta]:
    async with aclosing(llm.stream(request)) as stream:  # type: ignore[type-var]
        return [delta async for delta in stream]


def text_of(deltas: list[ChatDelta]) -> str:
    return "".join(delta.text for delta in deltas)


class LlmSuite:
    async def test_is_a_client_with_a_name(self, llm: LlmClient) -> None:
        assert isinstance(llm, LlmClient)
        assert llm.name

    async def test_only_the_last_delta_finishes(self, llm: LlmClient) -> None:
        deltas = await collect(llm, ChatRequest(messages=(COUNT,), max_tokens=12))
        assert len(deltas) > 2, "the answer comes in pieces"
        assert [delta.finish for delta in deltas[:-1]] == [""] * (len(deltas) - 1)
        assert deltas[-1].finish in {"stop", "length"}
        assert text_of(deltas).strip()

    async def test_max_tokens_bounds_the_answer(self, llm: LlmClient) -> None:
        last = (await collect(llm, ChatRequest(messages=(COUNT,), max_tokens=4)))[-1]
        assert last.finish == "length"
        assert 0 < last.completion_tokens <= 4
        assert last.prompt_tokens > 0

    async def test_a_schema_makes_the_answer_json(self, llm: LlmClient) -> None:
        request = ChatRequest(
            messages=(Message("user", "Which tool tells the time?"),), max_tokens=40, json_schema=SCHEMA
        )
        answer = json.loads(text_of(await collect(llm, request)))
        assert answer["tool"] in {"time", "answer"}
        assert isinstance(answer["sure"], bool)

    async def test_schema_and_grammar_together_are_refused(self, llm: LlmClient) -> None:
        request = ChatRequest(messages=(COUNT,), json_schema=SCHEMA, grammar='root ::= "yes"')
        with pytest.raises(AdapterError, match="not both"):
            await collect(llm, request)

    async def test_an_answer_goes_on_from_what_was_said(self, llm: LlmClient) -> None:
        said = Message("assistant", "one two three four")
        rest = text_of(await collect(llm, ChatRequest(messages=(COUNT, said), max_tokens=8)))
        assert rest.lower().startswith(" five"), "nothing twice, nothing lost"

    async def test_json_goes_on_from_what_was_said(self, llm: LlmClient) -> None:
        asked = Message("user", "Which tool tells the time?")
        whole = text_of(await collect(llm, ChatRequest(messages=(asked,), max_tokens=60, json_schema=SCHEMA)))
        said = whole[: whole.index(":") + 1]
        request = ChatRequest(messages=(asked, Message("assistant", said)), max_tokens=60, json_schema=SCHEMA)
        assert json.loads(said + text_of(await collect(llm, request)))["tool"] in {"time", "answer"}

    async def test_a_closed_answer_leaves_the_model_free(self, llm: LlmClient) -> None:
        async with aclosing(llm.stream(ChatRequest(messages=(COUNT,), max_tokens=600))) as stream:  # type: ignore[type-var]
            await anext(stream)
        async with asyncio.timeout(FREE_S):
            assert text_of(await collect(llm, ChatRequest(messages=(COUNT,), max_tokens=4)))

    async def test_a_cancelled_answer_leaves_the_model_free(self, llm: LlmClient) -> None:
        task = asyncio.create_task(collect(llm, ChatRequest(messages=(COUNT,), max_tokens=600)))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with asyncio.timeout(FREE_S):
            assert text_of(await collect(llm, ChatRequest(messages=(COUNT,), max_tokens=4)))

    async def test_two_answers_at_once_both_come(self, llm: LlmClient) -> None:
        requests = [ChatRequest(messages=(COUNT,), max_tokens=8, slot=slot) for slot in (0, 1)]
        answers = await asyncio.gather(*(collect(llm, request) for request in requests))
        assert all(text_of(answer).strip() for answer in answers)

    async def test_an_unfinished_prompt_can_be_prefilled(self, llm: LlmClient) -> None:
        await llm.prefill(ChatRequest(messages=(Message("user", "Count from one"),), slot=0))
        assert text_of(await collect(llm, ChatRequest(messages=(COUNT,), max_tokens=4, slot=0)))
