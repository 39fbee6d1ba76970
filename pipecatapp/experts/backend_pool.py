"""The pool of backends that serve experts: connections to them, and the state of each.

It owns one connection to each instance, shared by all who ask there; how many answers are under way on it;
its breaker; recent times to first token; and which instance of a service is asked first. The agent's
calls and the gateway's requests count alike. When the next one is asked is `hedged_request`'s and the
gateway's.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Callable

from pipecatapp.experts.circuit_breaker import CircuitBreaker
from pipecatapp.experts.service_names import EXPERT_PREFIX
from pipecatapp.ports import ChatDelta, ChatRequest, Clock, Endpoint, LlmClient, ServiceDirectory

OVERLOAD = 2
"""Answers that an instance may have under way more than the least busy one before a conversation whose prompt
it has read goes elsewhere: with one or two at a time a server of two slots keeps up, and reading a long
prompt anew takes an old desktop ten seconds."""
SEEN = 64
"""How many of a service's last times to first token are kept."""
ENOUGH_SEEN = 5
"""From how many times on they say something."""
SLOW = 0.95
"""Part of the times that is not slow: of twenty calls one may be hedged."""

Connect = Callable[[Endpoint], LlmClient]


class Backend:
    """One address of one service, and what was seen of it.

    Args:
        endpoint: Where it is.
        connect: Makes its client, when it is first asked.
        clock: Time.
    """

    def __init__(self, endpoint: Endpoint, connect: Connect, clock: Clock) -> None:
        self.endpoint = endpoint
        self.breaker = CircuitBreaker(clock)
        self.busy = 0
        """Answers of ours that are under way there."""
        self._connect = connect
        self._client: LlmClient | None = None

    @property
    def client(self) -> LlmClient:
        """The connection."""
        if self._client is None:
            self._client = self._connect(self.endpoint)
        return self._client

    def on_request(self) -> None:
        """Note that it is asked; `on_done` must follow."""
        self.busy += 1
        self.breaker.on_request()

    def on_first_token(self) -> None:
        """Note the first piece of its answer."""
        self.breaker.on_success()

    def on_error(self) -> None:
        """Note that it did not answer, or broke off."""
        self.breaker.on_failure()

    def on_done(self) -> None:
        """Note that nothing more is wanted of what it was asked."""
        self.busy -= 1
        self.breaker.on_cancel()

    async def close(self) -> None:
        """Let go of the connection."""
        if self._client is not None:
            await self._client.close()


class BackendPool:
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
        self._backends: dict[tuple[str, str], Backend] = {}
        self._ttfts_s: dict[str, deque[float]] = {}
        self._salt = secrets.token_hex(8)

    def candidates(self, service: str, session: str = "") -> list[Backend]:
        """Return the passing instances of a service that are worth asking, best first.

        A conversation prefers the same one each time, whose prompt cache it then finds warm, unless that one
        is overloaded. The preference is rendezvous hashing of its name and the address: no table, every
        process decides alike, and one that comes or goes moves only its own conversations. Without a
        conversation it is the least busy one, and of equals always the same. One outside the house comes
        after all of the house.
        """
        usable = [backend for backend in self._passing(service) if backend.breaker.allows_request]
        least = min((backend.busy for backend in usable), default=0)

        def rank(backend: Backend) -> tuple[bool, int, bytes]:
            is_fine = session and backend.busy - least < OVERLOAD
            weight = _weight(session or self._salt, backend.endpoint)
            return bool(backend.endpoint.external_base_url), 0 if is_fine else backend.busy, weight

        return sorted(usable, key=rank)

    def tripped(self, service: str) -> list[Backend]:
        """Return the passing instances of a service that failed lately: for when there is nobody else."""
        return [backend for backend in self._passing(service) if not backend.breaker.allows_request]

    def record_ttft(self, service: str, ttft_s: float) -> None:
        """Note the time to first token (seconds) of a backend of a service."""
        self._ttfts_s.setdefault(service, deque(maxlen=SEEN)).append(ttft_s)

    def ttft_p95_s(self, service: str) -> float | None:
        """Return the time (seconds) in which nearly every answer began; None while too few are seen."""
        seen = sorted(self._ttfts_s.get(service, ()))
        return seen[int(SLOW * (len(seen) - 1))] if len(seen) >= ENOUGH_SEEN else None

    async def close(self) -> None:
        """Let go of every connection."""
        backends = list(self._backends.values())
        self._backends.clear()
        await asyncio.gather(*(backend.close() for backend in backends))

    async def prune(self) -> None:
        """Close the connections that nobody uses to endpoints that are no longer there."""
        known = {
            (service, endpoint.base_url)
            for service in self.directory.services(EXPERT_PREFIX)
            for endpoint in self.directory.instances(service)
        }
        for key in [key for key, one in self._backends.items() if key not in known and not one.busy]:
            await self._backends.pop(key).close()

    def _passing(self, service: str) -> list[Backend]:
        return [self._backend(endpoint) for endpoint in self.directory.healthy(service)]

    def _backend(self, endpoint: Endpoint) -> Backend:
        key = (endpoint.service, endpoint.base_url)
        if key not in self._backends:
            self._backends[key] = Backend(endpoint, self._connect, self._clock)
        backend = self._backends[key]
        backend.endpoint = endpoint
        return backend


async def answer_of(llm: LlmClient, request: ChatRequest) -> AsyncGenerator[ChatDelta, None]:
    """Yield a model's answer, and close it with this generator."""
    deltas = llm.stream(request)
    try:
        async for delta in deltas:
            yield delta
    finally:
        if isinstance(deltas, AsyncGenerator):
            await deltas.aclose()


def _weight(key: str, endpoint: Endpoint) -> bytes:
    return hashlib.blake2b(f"{key} {endpoint.base_url}".encode(), digest_size=8).digest()
