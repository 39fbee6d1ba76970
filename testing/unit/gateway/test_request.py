"""A request is sent on as it came, unless something in it has to be another."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipecatapp.errors import GatewayError
from pipecatapp.gateway.proxy import Usage, tokens_in
from pipecatapp.gateway.request import parse_request
from pipecatapp.gateway.upstreams import Upstream

pytestmark = pytest.mark.unit

MESSAGES = [{"role": "user", "content": "hi"}]
LLAMA = Upstream(base_url="http://a/v1", name="a")


def body(**fields: Any) -> bytes:
    return json.dumps({"messages": MESSAGES, **fields}).encode()


def test_the_very_bytes_are_sent_on() -> None:
    raw = b'{ "messages":[{"role":"user","content":"hi"}],  "model":"main" }'
    assert parse_request(raw, "messages").body_for(LLAMA) is raw


def test_a_server_that_knows_models_by_name_is_asked_for_its_own() -> None:
    other = Upstream(base_url="http://b/v1", name="b", model="gpt-x")
    assert json.loads(parse_request(body(model="main"), "messages").body_for(other))["model"] == "gpt-x"


def test_a_server_that_is_not_llama_cpp_is_spared_its_fields() -> None:
    other = Upstream(base_url="http://b/v1", name="b", model="gpt-x")
    fields = {
        "cache_prompt": True,
        "n_probs": 3,
        "samplers": ["top_k"],
        "id_slot": 0,
        "seed": 3,
        "top_p": 0.5,
    }
    raw = body(model="main", **fields)
    sent = json.loads(parse_request(raw, "messages").body_for(other))
    assert sent == {"messages": MESSAGES, "model": "gpt-x", "seed": 3, "top_p": 0.5}
    kept = json.loads(parse_request(raw, "messages").body_for(LLAMA))
    assert kept.keys() - sent.keys() == {"cache_prompt", "n_probs", "samplers"}


def test_a_grammar_is_refused_where_there_is_none() -> None:
    request = parse_request(body(grammar='root ::= "a"'), "messages")
    with pytest.raises(GatewayError, match="b takes no grammar") as caught:
        request.body_for(Upstream(base_url="http://b/v1", name="b", model="gpt-x"))
    assert (caught.value.param, caught.value.status) == ("grammar", 400)
    assert request.body_for(LLAMA) is request.raw


@pytest.mark.parametrize("name", ["id_slot", "lora"])
def test_what_would_disturb_conversations_is_left_out(name: str) -> None:
    sent = json.loads(parse_request(body(**{name: 0}, seed=3), "messages").body_for(LLAMA))
    assert name not in sent and sent["seed"] == 3


def test_no_model_is_the_default_one() -> None:
    assert parse_request(body(), "messages").model == "default"


@pytest.mark.parametrize(
    ("raw", "code", "param"),
    [
        (b"", "invalid_json", ""),
        (b"[1]", "invalid_json", ""),
        (b"\xff\xfe", "invalid_json", ""),
        (b"[" * 100_000, "invalid_json", ""),
        (b"{}", "missing_required_parameter", "messages"),
        (body(stream="yes"), "invalid_type", "stream"),
        (body(model=3), "invalid_type", "model"),
        (b'{"messages": "hi"}', "invalid_type", "messages"),
        (b'{"messages": [1]}', "invalid_type", "messages"),
    ],
)
def test_a_wrong_body_is_refused_with_its_parameter(raw: bytes, code: str, param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        parse_request(raw, "messages")
    assert (caught.value.code, caught.value.param, caught.value.status) == (code, param, 400)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "http://192.168.1.1/admin"}},
        {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}},
        {"type": "input_audio", "input_audio": {"data": "https://example.org/a.wav"}},
        {"type": "video_url", "video_url": {"url": "http://example.org/a"}},
    ],
)
def test_nothing_is_fetched_for_a_program(part: dict[str, Any]) -> None:
    with pytest.raises(GatewayError, match="Nothing is fetched"):
        parse_request(body(messages=[{"role": "user", "content": [part]}]), "messages")


def test_a_picture_in_the_request_is_let_through() -> None:
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    parse_request(body(messages=[{"role": "user", "content": [part]}]), "messages")


@pytest.mark.parametrize(
    ("data", "tokens"),
    [
        (b'{"usage": {"total_tokens": 12}}', 12),
        (b'{"timings": {"prompt_n": 5, "cache_n": 20, "predicted_n": 7}}', 32),
        (b'{"choices": []}', 0),
        (b'{"usage": null, "timings": "x"}', 0),
        (b'{"usage": {"total_', 0),
    ],
)
def test_tokens_are_read_from_an_answer(data: bytes, tokens: int) -> None:
    assert tokens_in(data) == tokens


def test_tokens_of_a_stream_are_read_from_its_end() -> None:
    usage = Usage()
    for _ in range(500):
        usage.saw(b'data: {"choices":[{"delta":{"content":"word"}}]}\n\n')
    usage.saw(b'data: {"choices":[],"usa')
    usage.saw(b'ge":{"total_tokens":777}}\n\ndata: [DONE]\n\n')
    assert usage.tokens() == 777


def test_a_stream_that_tells_nothing_counts_by_its_events() -> None:
    usage = Usage()
    for _ in range(5):
        usage.saw(b'data: {"choices":[{"delta":{"content":"word"}}]}\n\n')
    assert usage.tokens() == 5
