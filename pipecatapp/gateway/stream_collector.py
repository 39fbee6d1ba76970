"""Collects a streamed response into a whole one.

It owns OpenAI's two forms of an answer, in pieces and whole. llama.cpp's server is always asked for a stream:
when it makes a whole answer it notices that its caller has left only in a second without any other's result
(tools/server/server-queue.cpp, `recv_with_timeout`), so that beside another answer it works to the end for
nobody.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipecatapp.errors import AdapterError


def as_stream(body: bytes) -> bytes:
    """Return a request for a whole answer as one for a stream that tells how many tokens it took."""
    fields = json.loads(body)
    options = {**(fields.get("stream_options") or {}), "include_usage": True}
    return json.dumps({**fields, "stream": True, "stream_options": options}).encode()


class StreamCollector:
    """An answer that is being put together.

    Args:
        server_name: What errors call the server.
    """

    def __init__(self, server_name: str) -> None:
        self._server_name = server_name
        self._rest = b""
        self._head: dict[str, Any] = {}
        self._more: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self._is_whole = False
        self.error: Mapping[str, Any] = {}
        """What the server said went wrong; empty when nothing did."""

    def feed(self, piece: bytes) -> None:
        """Take the next piece of the stream.

        Raises:
            AdapterError: It is no stream of an answer.
        """
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            if not line.startswith(b"data:"):
                continue
            data = line[5:].strip()
            if data == b"[DONE]":
                self._is_whole = True
                continue
            try:
                value = json.loads(data)
                if isinstance(value, dict):
                    self._take(value)
            except (ValueError, LookupError, TypeError, AttributeError) as exc:
                message = f"{self._server_name} answered in a form that is not known."
                raise AdapterError("upstream-broke-off", message, retryable=True) from exc

    def answer(self) -> bytes:
        """Return the whole answer.

        Raises:
            AdapterError: The stream ended before its end.
        """
        if not self._is_whole or not self._choices:
            message = f"{self._server_name} broke off."
            raise AdapterError("upstream-broke-off", message, retryable=True)
        choices = [_whole_choice(self._choices[index]) for index in sorted(self._choices)]
        return json.dumps({"choices": choices, **self._head, **self._more}, ensure_ascii=False).encode()

    def _take(self, value: Mapping[str, Any]) -> None:
        if "error" in value:
            self.error = value["error"] or {"message": ""}
            return
        for name, item in value.items():
            if name in ("choices", "usage", "timings"):
                continue
            self._head[name] = "chat.completion" if item == "chat.completion.chunk" else item
        for choice in value.get("choices") or ():
            self._take_choice(choice)
        if usage := value.get("usage"):
            self._more["usage"] = _summed(self._more.get("usage"), usage)
        if timings := value.get("timings"):
            self._more["timings"] = timings

    def _take_choice(self, piece: Mapping[str, Any]) -> None:
        index = piece.get("index") or 0
        choice = self._choices.setdefault(index, {"finish_reason": None, "index": index})
        choice["finish_reason"] = piece.get("finish_reason") or choice["finish_reason"]
        if told := piece.get("logprobs"):
            choice.setdefault("logprobs", {"content": []})["content"] += told["content"]
        if "text" in piece:
            choice["text"] = choice.get("text", "") + (piece["text"] or "")
            return
        message = choice.setdefault("message", {"role": "assistant"})
        for name, item in (piece.get("delta") or {}).items():
            if name == "tool_calls":
                for call in item:
                    _take_call(message.setdefault(name, {}), call)
            elif isinstance(item, str) and name != "role":
                message[name] = message.get(name, "") + item


def _take_call(calls: dict[int, dict[str, Any]], piece: Mapping[str, Any]) -> None:
    function = piece.get("function") or {}
    call = calls.setdefault(
        piece.get("index") or 0,
        {"id": "", "type": "function", "function": {"name": "", "arguments": ""}},
    )
    call["id"] = piece.get("id") or call["id"]
    for name in ("name", "arguments"):
        call["function"][name] += function.get(name) or ""


def _whole_choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    message = choice.get("message")
    if message is None:
        return {**choice, "logprobs": choice.get("logprobs")}
    calls = message.get("tool_calls")
    content = message.get("content", None if calls else "")
    whole = {**message, "content": content}
    if calls:
        whole["tool_calls"] = [calls[index] for index in sorted(calls)]
    return {**choice, "message": whole}


def _summed(before: Mapping[str, Any] | None, usage: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tokens of several answers to one prompt; the server tells those of each."""
    if before is None:
        return dict(usage)
    completion = before["completion_tokens"] + usage["completion_tokens"]
    return {
        **before,
        "completion_tokens": completion,
        "total_tokens": before["prompt_tokens"] + completion,
    }
