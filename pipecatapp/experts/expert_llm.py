"""The LlmClient of one expert, over all backends that serve it, with the local model as a fallback.

It owns what an expert is called and which services stand behind its name; asking them is `hedged_request`'s.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

from pipecatapp.experts.backend_pool import BackendPool
from pipecatapp.experts.hedged_request import HedgedRequest, HedgingPolicy
from pipecatapp.ports import ChatDelta, ChatRequest, Clock, LlmClient


class ExpertLlm:
    """A chat model behind the name of an expert; made by `ExpertPool.client`.

    Args:
        expert: Such as `main`.
        services: Whose instances are asked, one service after the other.
        backends: What there is; the pool closes it.
        clock: Time.
        own: This machine's own model, asked last; the pool closes it. None for none.
        policy: How long a call waits for what.
    """

    def __init__(
        self,
        expert: str,
        services: Sequence[str],
        backends: BackendPool,
        clock: Clock,
        *,
        own: LlmClient | None = None,
        policy: HedgingPolicy,
    ) -> None:
        self._expert = expert
        self._services = tuple(services)
        self._backends = backends
        self._clock = clock
        self._own = own
        self._policy = policy

    @property
    def name(self) -> str:
        """The expert that there is, or this machine's own model."""
        if self._own is not None and not self.is_up():
            return self._own.name
        return f"expert {self._expert}"

    def is_up(self) -> bool:
        """Whether an instance passes its checks."""
        return any(self._backends.directory.healthy(service) for service in self._services)

    def stream(self, request: ChatRequest) -> AsyncGenerator[ChatDelta, None]:
        """Yield one answer, whoever gives its parts; each piece says by whom it is.

        Raises:
            AdapterError: Nobody is left who could answer or go on; `no-expert` when there is none to ask.
        """
        call = HedgedRequest(request, self._services, self._backends, self._own, self._clock, self._policy)
        return call.answer()

    async def prefill(self, request: ChatRequest) -> None:
        """Warm the prompt cache of the one that will be asked first."""
        for service in self._services:
            for backend in self._backends.candidates(service, request.session):
                await backend.client.prefill(replace(request, slot=-1))
                return
        if self._own is not None:
            await self._own.prefill(request)

    async def close(self) -> None:
        """Do nothing: the pool closes what its clients share."""
