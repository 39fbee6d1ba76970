"""Whole answers over the gateway, which llama.cpp's server gives as streams."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from testing.fakes.raw_upstream import CUT, OK, RawUpstream, chunk, stream, whole
from testing.integration.web.test_v1 import ANSWER, CHAT, error_of, house

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


def told(*choices: Any, **more: Any) -> bytes:
    value = {"id": "x", "object": "chat.completion.chunk", "model": "m", "choices": choices, **more}
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def said(text: str, index: int = 0, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"index": index, "delta": {"content": text}, "finish_reason": finish, **more}


async def test_a_whole_answer_is_put_together_of_a_stream(tmp_path: Path) -> None:
    one, two = ({"content": [{"token": token, "logprob": -1.0}]} for token in ("he", "llo"))
    events = [
        told({"index": 1, "delta": {"role": "assistant", "content": None}}),
        b"data: null\n\n",
        told(said("he", logprobs=one)),
        told(said("hi", 1)),
        told(said("llo", logprobs=two)),
        told({"index": 1, "delta": {}, "finish_reason": "length"}),
        told(usage={"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}),
        told({"index": 0, "delta": {}, "finish_reason": "stop"}),
        told(usage={"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}, timings={"prompt_n": 9}),
    ]
    async with house(tmp_path, RawUpstream(stream(*events))) as it, it.client() as http:
        response = await http.post("/v1/chat/completions", json={**CHAT, "n": 2})
        assert it.seen.under_way == 0
    assert response.headers["content-type"] == "application/json"
    first = {"message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop", "index": 0}
    second = {"message": {"role": "assistant", "content": "hi"}, "finish_reason": "length", "index": 1}
    assert response.json() == {
        "id": "x",
        "object": "chat.completion",
        "model": "m",
        "choices": [{**first, "logprobs": {"content": one["content"] + two["content"]}}, second],
        "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
        "timings": {"prompt_n": 9},
    }


async def test_a_whole_text_is_put_together_of_a_stream(tmp_path: Path) -> None:
    parts = [{"index": 0, "text": text, "finish_reason": end} for text, end in (("a", None), ("b", "stop"))]
    events = [told(part, object="text_completion") for part in parts]
    async with house(tmp_path, RawUpstream(stream(*events))) as it, it.client() as http:
        answer = (await http.post("/v1/completions", json={"prompt": "x"})).json()
    wanted = {"index": 0, "text": "ab", "finish_reason": "stop", "logprobs": None}
    assert (answer["object"], answer["choices"]) == ("text_completion", [wanted])


async def test_calls_of_a_model_that_calls_tools_are_put_together(tmp_path: Path) -> None:
    calls = [
        {"index": 0, "id": "c1", "type": "function", "function": {"name": "set_timer", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"minutes"'}},
        {"index": 0, "function": {"arguments": ": 5}"}},
    ]
    events = [told({"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}) for call in calls]
    async with house(tmp_path, RawUpstream(stream(*events))) as it, it.client() as http:
        message = (await http.post("/v1/chat/completions", json=CHAT)).json()["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "set_timer", "arguments": '{"minutes": 5}'}}
    ]


@pytest.mark.parametrize("end", [[CUT], [b"0\r\n\r\n"], [chunk(b"data: {nonsense\n\n"), CUT]])
async def test_a_whole_answer_whose_stream_breaks_off_is_asked_of_the_next(
    tmp_path: Path, end: list[bytes]
) -> None:
    broken = RawUpstream([OK, chunk(told(said("half"))), *end])
    async with house(tmp_path, broken, RawUpstream(whole(ANSWER))) as it, it.client() as http:
        response = await http.post("/v1/chat/completions", json=CHAT)
    assert (response.status_code, response.json()) == (200, ANSWER) and it.seen.failed == ["server 1"]


async def test_what_a_server_says_within_a_stream_is_an_error_of_a_whole_answer(tmp_path: Path) -> None:
    error = {"code": 400, "message": "the context is full", "type": "invalid_request_error"}
    broken = RawUpstream(
        [OK, chunk(told(said("half"))), chunk(b"data: " + json.dumps({"error": error}).encode() + b"\n\n")]
    )
    async with house(tmp_path, broken) as it, it.client() as http:
        response = await http.post("/v1/chat/completions", json=CHAT)
        assert it.seen.under_way == 0
    assert (response.status_code, error_of(response)["message"]) == (400, "the context is full")
