"""One streamed answer of a model's server, timed: what several benchmarks ask and how they count.

It owns the request and its times. Which servers are asked, how often and with what, is each benchmark's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipecatapp.adapters.http.stream_client import HttpConnectionPool

TIMEOUT_S = 120.0
"""Longest wait for the next piece (seconds)."""


@dataclass(frozen=True, slots=True)
class Side:
    """Where to ask."""

    name: str
    url: str
    key: str


@dataclass(frozen=True, slots=True)
class Run:
    """One stream.

    Args:
        first_s: Until its first piece (seconds).
        tokens_per_s: How quickly the rest came; NaN when there was none.
        tokens: Length of the answer.
        text: The answer.
        prompt_tokens: Length of the prompt, 0 when the server does not tell.
        reads_per_s: Tokens of the prompt a second by the server's own clock; NaN when it does not tell.
    """

    first_s: float
    tokens_per_s: float
    tokens: int
    text: str = ""
    prompt_tokens: int = 0
    reads_per_s: float = float("nan")


def chat(messages: Sequence[Mapping[str, str]], tokens: int, **more: Any) -> dict[str, Any]:
    """Return the body of a streamed request for at most `tokens` tokens, with further fields."""
    return {
        "model": "main",
        "messages": list(messages),
        "max_tokens": tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
        **more,
    }


async def ask(servers: HttpConnectionPool, side: Side, body: Mapping[str, Any]) -> Run:
    """Ask once and time the answer.

    Raises:
        AdapterError: The server cannot be reached, or breaks off.
        RuntimeError: It answers with an error, or not to the end; the message has its words.
    """
    began_s = time.perf_counter()
    reply = await servers.post(
        f"{side.url}/chat/completions",
        json.dumps(body).encode(),
        api_key=side.key,
        timeout_s=TIMEOUT_S,
        server_name=side.name,
    )
    try:
        text = await reply.read()
        first_s = time.perf_counter() - began_s
        while piece := await reply.read():
            text += piece
        rest_s = time.perf_counter() - began_s - first_s
    finally:
        reply.close()
    if reply.status != 200 or b"[DONE]" not in text:
        raise RuntimeError(f"{side.name} answered {reply.status}: {text[-300:]!r}")
    return run_of(text, first_s, rest_s)


def run_of(stream: bytes, first_s: float, rest_s: float) -> Run:
    """Return what a whole stream of server-sent events tells, with its times (seconds)."""
    said: list[str] = []
    usage: Mapping[str, Any] = {}
    timings: Mapping[str, Any] = {}
    for event in _events(stream):
        said += [text for choice in event.get("choices") or () if (text := _words(choice))]
        usage = event.get("usage") or usage
        timings = event.get("timings") or timings
    # A server that counts nothing sends a token in each piece.
    tokens = int(usage.get("completion_tokens", len(said)))
    return Run(
        first_s,
        (tokens - 1) / rest_s if tokens > 1 and rest_s > 0 else float("nan"),
        tokens,
        "".join(said),
        int(usage.get("prompt_tokens", 0)),
        float(timings.get("prompt_per_second", "nan")),
    )


def _events(stream: bytes) -> Iterator[dict[str, Any]]:
    for line in stream.split(b"\n"):
        if line.startswith(b"data:") and b"[DONE]" not in line[:16]:
            yield json.loads(line[5:])


def _words(choice: Mapping[str, Any]) -> str:
    delta = choice.get("delta") or {}
    return str(delta.get("content") or delta.get("reasoning_content") or "")
