"""The instances of the house's experts: connections to them, and what was seen of each.

It owns one connection an address, shared by every expert that asks there, how many answers are under way on
it, and whether it failed lately. Whom to ask in which order is `expert_llm`'s.
"""

from __future__ import annotations

import asyncio
import secrets
import zlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from pipecatapp.experts.names import EXPERT_PREFIX
from pipecatapp.ports import ChatDelta, ChatRequest, Clock, Endpoint, LlmClient, ServiceDirectory

AVOID_S = 10.0
"""How long an endpoint that failed is asked last (seconds): Consul's check will have noticed by then."""

Connect = Callable[[Endpoint], LlmClient]


class Instances:
    """What this process knows of the endpoints of the house.

    Args:
        directory: Where they are.
        connect: Makes a client of an endpoint.
        clock: Time.
    """

    def __init__(self, directory: ServiceDirectory, connect: Connect, clock: Clock) -> None:
        self.directory = directory
        self._connect = connect
        self._clock = clock
        self._clients: dict[str, LlmClient] = {}
        self._busy: dict[str, int] = {}
        self._failed_s: dict[str, float] = {}
        self._salt = secrets.token_bytes(8)

    def to_ask(self, service: str) -> list[Endpoint]:
        """Return the passing endpoints of a service, those that failed lately last.

        This process always prefers the same one, whose prompt cache it then finds warm; others prefer others.
        """

        def rank(endpoint: Endpoint) -> tuple[bool, int]:
            return self._is_avoided(endpoint), zlib.crc32(endpoint.url.encode(), zlib.crc32(self._salt))

        return sorted(self.directory.current(service), key=rank)

    def failed(self, endpoint: Endpoint) -> None:
        """Note that it did not answer."""
        self._failed_s[endpoint.url] = self._clock.monotonic_s()

    def client(self, endpoint: Endpoint) -> LlmClient:
        """Return the connection to an endpoint."""
        if endpoint.url not in self._clients:
            self._clients[endpoint.url] = self._connect(endpoint)
        return self._clients[endpoint.url]

    async def ask(self, endpoint: Endpoint, request: ChatRequest) -> AsyncGenerator[ChatDelta, None]:
        """Yield an endpoint's answer.

        Raises:
            AdapterError: As `LlmClient.stream`.
        """
        await self._let_go_of_the_gone()
        url = endpoint.url
        client = self.client(endpoint)
        self._busy[url] = self._busy.get(url, 0) + 1
        try:
            async with aclosing(answer_of(client, request)) as deltas:
                async for delta in deltas:
                    yield delta
        finally:
            self._busy[url] -= 1

    async def close(self) -> None:
        """Let go of every connection."""
        clients = list(self._clients.values())
        self._clients.clear()
        await asyncio.gather(*(client.close() for client in clients))

    def _is_avoided(self, endpoint: Endpoint) -> bool:
        failed_s = self._failed_s.get(endpoint.url)
        return failed_s is not None and self._clock.monotonic_s() - failed_s < AVOID_S

    async def _let_go_of_the_gone(self) -> None:
        """Close the connections that nobody uses to endpoints that are no longer there."""
        known = {
            endpoint.url
            for service in self.directory.names(EXPERT_PREFIX)
            for endpoint in self.directory.known(service)
        }
        for url in [url for url in self._clients if url not in known and not self._busy.get(url)]:
            client = self._clients.pop(url)
            self._busy.pop(url, None)
            self._failed_s.pop(url, None)
            await client.close()


async def answer_of(llm: LlmClient, request: ChatRequest) -> AsyncGenerator[ChatDelta, None]:
    """Yield a model's answer, and close it with this generator."""
    deltas = llm.stream(request)
    try:
        async for delta in deltas:
            yield delta
    finally:
        if isinstance(deltas, AsyncGenerator):
            await deltas.aclose()
