"""A chat model behind an OpenAI-compatible HTTP server.

It owns the requests and the answer's pieces. Starting a server is `server_process`'s business, choosing one
is `app`'s.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from pipecatapp.adapters.http.openai_api import OpenAiHttp
from pipecatapp.adapters.llm.continuation import (
    OverlapTrimmer,
    PrefixStripper,
    continuation_prompt,
    partial_answer,
    restart_request,
)
from pipecatapp.errors import AdapterError
from pipecatapp.ports import ChatDelta, ChatRequest

log = logging.getLogger(__name__)

PATH = "/chat/completions"
_GO_ON = {"continue_final_message": True, "add_generation_prompt": False}
"""Asks for the rest of the last message: https://docs.vllm.ai (chat API, extra parameters), and llama.cpp's
server, which without them goes on too, but repeats the message in some versions."""
_FINISHES = {"stop": "stop", "length": "length", "eos": "stop", "tool_calls": "stop"}


class OpenAiLlm:
    """Client of one `/chat/completions`.

    Args:
        base_url: Ends in /v1.
        model: Name to ask the server for.
        api_key: Sent as a bearer token; "" for none.
        name: What a person calls it; the model's name when "".
        request_timeout_s: Longest wait for the next byte (seconds, > 0).
        llama_extensions: The server is llama.cpp: it takes grammars, slots and prompt-cache hints.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str = "",
        *,
        name: str = "",
        request_timeout_s: float = 60.0,
        llama_extensions: bool = True,
    ) -> None:
        self._model = model
        self._name = name or model
        self._llama_extensions = llama_extensions
        self._continues_by_prompt = False
        self._http = OpenAiHttp(
            base_url, api_key, server_name=self._name, kind="llm", timeout_s=request_timeout_s
        )

    @property
    def name(self) -> str:
        """What answers, in words a person knows."""
        return self._name

    async def stream(self, request: ChatRequest) -> AsyncGenerator[ChatDelta, None]:
        """Yield the answer piece by piece; closing the iterator closes the connection, which stops the work.

        An answer that goes on from the assistant's last message (`ChatRequest.messages`) is asked for by the
        fields of llama.cpp and vLLM. A server that refuses those is asked in words. Where a constraint begins
        anew, as a grammar does in llama.cpp, the whole answer is asked for, and what was said is left out.

        Raises:
            AdapterError: `llm-unreachable`, `llm-timeout`, `llm-refused` or `llm-broke-off`; retryable
                when another try, or another server, may succeed.
        """
        said = partial_answer(request)
        is_bound = bool(request.grammar) or (request.json_schema is not None and not self._llama_extensions)
        if not said:
            answer = self._answer(request)
        elif is_bound:
            answer = self._rest_of_repeated(request, said)
        elif self._llama_extensions:
            answer = self._answer(request, _GO_ON)
        else:
            answer = self._rest(request, said)
        async with aclosing(answer) as deltas:
            async for delta in deltas:
                yield delta

    async def _rest(self, request: ChatRequest, said: str) -> AsyncGenerator[ChatDelta, None]:
        """Go on at a server of any make, which may know no such thing and begin again."""
        if not self._continues_by_prompt:
            try:
                # One that ignores the fields may begin again.
                answer = self._answer(request, _GO_ON)
                async with aclosing(
                    _sewn(answer, OverlapTrimmer(said, least=len(said), is_spaced=False))
                ) as deltas:
                    async for delta in deltas:
                        yield delta
                return
            except AdapterError as exc:
                if exc.code != "llm-refused" or exc.retryable:
                    raise
            self._continues_by_prompt = True
        answer = self._answer(continuation_prompt(request))
        async with aclosing(_sewn(answer, OverlapTrimmer(said, least=1, is_spaced=True))) as deltas:
            async for delta in deltas:
                yield delta

    async def _rest_of_repeated(self, request: ChatRequest, said: str) -> AsyncGenerator[ChatDelta, None]:
        stripper = PrefixStripper(said)
        async with aclosing(self._answer(restart_request(request))) as deltas:
            async for delta in deltas:
                text = stripper.feed(delta.text)
                if text is None:
                    raise self._http.broke_off("gives another answer than the one that was begun")
                if text or delta.finish:
                    yield replace(delta, text=text)

    async def _answer(
        self, request: ChatRequest, extra: Mapping[str, Any] = MappingProxyType({})
    ) -> AsyncGenerator[ChatDelta, None]:
        body = self._body(request) | {"stream": True, "stream_options": {"include_usage": True}, **extra}
        finish = ""
        usage = (0, 0, 0)
        async with aclosing(self._http.stream_events(PATH, body)) as events:
            async for event in events:
                usage = _usage(event) or usage
                for choice in event.get("choices") or ():
                    text = (choice.get("delta") or {}).get("content") or ""
                    if text:
                        yield ChatDelta(text=text)
                    if choice.get("finish_reason"):
                        finish = _FINISHES.get(choice["finish_reason"], "error")
        if not finish:
            raise self._http.broke_off("stopped in the middle of its answer")
        prompt, cached, completion = usage
        yield ChatDelta(
            text="", finish=finish, prompt_tokens=prompt, cached_tokens=cached, completion_tokens=completion
        )

    async def prefill(self, request: ChatRequest) -> None:
        """Warm the prompt cache; does nothing on a server that has none of ours, and never fails."""
        if not self._llama_extensions:
            return
        try:
            await self._http.post_json(PATH, self._body(request) | {"stream": False, "max_tokens": 1})
        except AdapterError as exc:
            log.debug("prefill failed", extra={"code": exc.code})

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    def _body(self, request: ChatRequest) -> dict[str, Any]:
        if request.grammar and request.json_schema is not None:
            raise AdapterError("llm-request", "a request takes a JSON schema or a grammar, not both")
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": m.role, "content": m.content} for m in request.messages],
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
        }
        if request.stop:
            body["stop"] = list(request.stop)
        if request.json_schema is not None:
            schema = {"name": "answer", "strict": True, "schema": dict(request.json_schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if request.grammar:
            if not self._llama_extensions:
                raise AdapterError(
                    "llm-no-grammar",
                    f"{self._name} takes no grammar",
                    hint="Use a JSON schema, or a llama.cpp server.",
                )
            body["grammar"] = request.grammar
        if self._llama_extensions:
            body["cache_prompt"] = True
            if request.slot >= 0:
                body["id_slot"] = request.slot
        return body


async def _sewn(
    answer: AsyncGenerator[ChatDelta, None], trimmer: OverlapTrimmer
) -> AsyncGenerator[ChatDelta, None]:
    """Yield what an answer adds to what was said."""
    async with aclosing(answer) as deltas:
        async for delta in deltas:
            text = trimmer.feed(delta.text)
            if delta.finish:
                text += trimmer.end()
            if text or delta.finish:
                yield replace(delta, text=text)


def _usage(event: Mapping[str, Any]) -> tuple[int, int, int] | None:
    """Return an event's counts of prompt, cached and answered tokens, or None.

    llama.cpp's `timings` name the cached ones exactly.
    """
    usage = event.get("usage") or {}
    timings = event.get("timings") or {}
    if not usage and not timings:
        return None
    details = usage.get("prompt_tokens_details") or {}
    cached = int(timings.get("cache_n", details.get("cached_tokens") or 0))
    return (
        int(usage.get("prompt_tokens", int(timings.get("prompt_n", 0)) + cached)),
        cached,
        int(usage.get("completion_tokens", timings.get("predicted_n", 0))),
    )
