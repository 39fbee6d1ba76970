"""A stream of a model's server is counted truly."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from testing.bench.asking import chat, run_of

pytestmark = pytest.mark.unit


def stream(*events: dict[str, Any], space: str = " ") -> bytes:
    return b"".join(f"data:{space}{json.dumps(event)}\n\n".encode() for event in events) + b"data: [DONE]\n\n"


def piece(text: str | None, field: str = "content") -> dict[str, Any]:
    return {"choices": [{"delta": {field: text}}]}


USAGE = {"choices": [], "usage": {"prompt_tokens": 190, "completion_tokens": 5}}
TIMINGS = {"timings": {"prompt_per_second": 80.5}}


def test_what_the_server_counts_counts() -> None:
    run = run_of(stream(piece(None), piece("One"), piece(" two"), USAGE | TIMINGS), 0.5, 2.0)
    assert (run.first_s, run.tokens, run.prompt_tokens, run.text) == (0.5, 5, 190, "One two")
    assert (run.tokens_per_s, run.reads_per_s) == (2.0, 80.5)


def test_a_server_that_counts_nothing_is_counted_by_its_pieces() -> None:
    run = run_of(stream(piece("", "role"), piece("One"), piece(" two"), piece(" three"), space=""), 0.5, 4.0)
    assert (run.tokens, run.tokens_per_s, run.prompt_tokens) == (3, 0.5, 0)
    assert math.isnan(run.reads_per_s)


def test_thinking_is_writing() -> None:
    assert run_of(stream(piece("Hm", "reasoning_content"), piece("Yes")), 0.1, 1.0).text == "HmYes"


def test_an_answer_of_one_token_has_no_speed() -> None:
    assert math.isnan(run_of(stream(piece("Yes")), 0.1, 0.0).tokens_per_s)


def test_a_request_is_streamed_and_counted_and_takes_more_fields() -> None:
    body = chat([{"role": "user", "content": "Hello"}], 8, model="math", seed=3)
    assert body["stream"] and body["stream_options"] == {"include_usage": True}
    assert (body["max_tokens"], body["model"], body["seed"]) == (8, "math", 3)
