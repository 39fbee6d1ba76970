"""A chat model that is wherever the house's directory says, with this machine's own behind it.

It owns which endpoint is asked, and when the next one is. Connecting is handed in; an answer that breaks off
after its first piece is the caller's to repair.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import zlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace

from pipecatapp.errors import AdapterError
from pipecatapp.experts.names import service_of
from pipecatapp.ports import ChatDelta, ChatRequest, Clock, Endpoint, LlmClient, ServiceDirectory

log = logging.getLogger(__name__)

AVOID_S = 10.0
"""How long an endpoint that failed is asked last (seconds): Consul's check will have noticed by then."""
OUR_FAULT = "llm-request"
"""Code of a request that no endpoint would take."""

Connect = Callable[[Endpoint], LlmClient]


class ExpertLlm:
    """A chat model behind a service's name.

    Args:
        expert: Such as `main`.
        directory: Where it may be.
        connect: Makes a client of an endpoint.
        clock: Time.
        own: Asked last, and closed with this; None for none.
    """

    def __init__(
        self,
        expert: str,
        directory: ServiceDirectory,
        connect: Connect,
        clock: Clock,
        *,
        own: LlmClient | None = None,
    ) -> None:
        self._expert = expert
        self._service = service_of(expert)
        self._directory = directory
        self._connect = connect
        self._clock = clock
        self._own = own
        self._clients: dict[str, LlmClient] = {}
        self._busy: dict[str, int] = {}
        self._failed_s: dict[str, float] = {}
        self._salt = secrets.token_bytes(8)

    @property
    def name(self) -> str:
        """The expert that there is, or this machine's own model."""
        if self._own is not None and not self._directory.current(self._service):
            return self._own.name
        return f"expert {self._expert}"

    def is_up(self) -> bool:
        """Whether an endpoint passes its checks."""
        return bool(self._directory.current(self._service))

    async def stream(self, request: ChatRequest) -> AsyncGenerator[ChatDelta, None]:
        """Yield the answer of the first endpoint that begins one.

        Raises:
            AdapterError: None did, or the one that did broke off; `no-expert` when there is none to ask.
        """
        failure: AdapterError | None = None
        for endpoint in self._candidates():
            has_begun = False
            try:
                # Prompt caches are numbered by one client; the experts of the house have many.
                async with aclosing(self._ask(endpoint, replace(request, slot=-1))) as deltas:
                    async for delta in deltas:
                        has_begun = True
                        yield delta
                return
            except AdapterError as exc:
                if has_begun or exc.code == OUR_FAULT:
                    raise
                failure = exc
                self._failed_s[endpoint.url] = self._clock.monotonic_s()
                log.warning("An expert does not answer", extra={"endpoint": endpoint.url, "code": exc.code})
        if self._own is not None:
            async with aclosing(_generator(self._own, request)) as deltas:
                async for delta in deltas:
                    yield delta
            return
        if failure is not None:
            raise failure
        raise AdapterError(
            "no-expert",
            f"{self._directory.name} knows no {self._service}, and this machine has no language model.",
            hint="Start an expert, or set LLM_BASE_URL.",
            retryable=True,
        )

    async def prefill(self, request: ChatRequest) -> None:
        """Warm the prompt cache of the one that will be asked first."""
        candidates = self._candidates()
        if candidates:
            await self._client(candidates[0]).prefill(replace(request, slot=-1))
        elif self._own is not None:
            await self._own.prefill(request)

    async def close(self) -> None:
        """Let go of every connection."""
        clients = [*self._clients.values(), *([self._own] if self._own is not None else [])]
        self._clients.clear()
        await asyncio.gather(*(client.close() for client in clients))

    def _candidates(self) -> list[Endpoint]:
        """Return the passing endpoints, those that failed lately last.

        This client always prefers the same one, whose prompt cache it then finds warm; others prefer others.
        """

        def rank(endpoint: Endpoint) -> tuple[bool, int]:
            return self._is_avoided(endpoint), zlib.crc32(endpoint.url.encode(), zlib.crc32(self._salt))

        return sorted(self._directory.current(self._service), key=rank)

    def _is_avoided(self, endpoint: Endpoint) -> bool:
        failed_s = self._failed_s.get(endpoint.url)
        return failed_s is not None and self._clock.monotonic_s() - failed_s < AVOID_S

    async def _ask(self, endpoint: Endpoint, request: ChatRequest) -> AsyncGenerator[ChatDelta, None]:
        await self._let_go_of_the_gone()
        url = endpoint.url
        client = self._client(endpoint)
        self._busy[url] = self._busy.get(url, 0) + 1
        try:
            async with aclosing(_generator(client, request)) as deltas:
                async for delta in deltas:
                    yield delta
        finally:
            self._busy[url] -= 1

    def _client(self, endpoint: Endpoint) -> LlmClient:
        if endpoint.url not in self._clients:
            self._clients[endpoint.url] = self._connect(endpoint)
        return self._clients[endpoint.url]

    async def _let_go_of_the_gone(self) -> None:
        """Close the connections that nobody uses to endpoints that are no longer there."""
        known = {endpoint.url for endpoint in self._directory.known(self._service)}
        for url in [url for url in self._clients if url not in known and not self._busy.get(url)]:
            client = self._clients.pop(url)
            self._busy.pop(url, None)
            self._failed_s.pop(url, None)
            await client.close()


async def _generator(llm: LlmClient, request: ChatRequest) -> AsyncGenerator[ChatDelta, None]:
    """Yield an answer, and close it with this generator."""
    deltas = llm.stream(request)
    try:
        async for delta in deltas:
            yield delta
    finally:
        if isinstance(deltas, AsyncGenerator):
            await deltas.aclose()
