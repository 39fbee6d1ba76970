"""A chat model that is wherever the house's directory says, with this machine's own behind it.

It owns what an expert is called and which services stand behind its name; asking them is `hedged_request`'s.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

from pipecatapp.experts.backend_pool import Instances
from pipecatapp.experts.hedged_request import Call, Patience
from pipecatapp.ports import ChatDelta, ChatRequest, Clock, LlmClient


class ExpertLlm:
    """A chat model behind the name of an expert; made by `ExpertPool.client`.

    Args:
        expert: Such as `main`.
        services: Whose instances are asked, one service after the other.
        instances: What there is; the pool closes it.
        clock: Time.
        own: This machine's own model, asked last; the pool closes it. None for none.
        patience: How long a call waits for what.
    """

    def __init__(
        self,
        expert: str,
        services: Sequence[str],
        instances: Instances,
        clock: Clock,
        *,
        own: LlmClient | None = None,
        patience: Patience,
    ) -> None:
        self._expert = expert
        self._services = tuple(services)
        self._instances = instances
        self._clock = clock
        self._own = own
        self._patience = patience

    @property
    def name(self) -> str:
        """The expert that there is, or this machine's own model."""
        if self._own is not None and not self.is_up():
            return self._own.name
        return f"expert {self._expert}"

    def is_up(self) -> bool:
        """Whether an instance passes its checks."""
        return any(self._instances.directory.current(service) for service in self._services)

    def stream(self, request: ChatRequest) -> AsyncGenerator[ChatDelta, None]:
        """Yield one answer, whoever gives its parts; each piece says by whom it is.

        Raises:
            AdapterError: Nobody is left who could answer or go on; `no-expert` when there is none to ask.
        """
        call = Call(request, self._services, self._instances, self._own, self._clock, self._patience)
        return call.answer()

    async def prefill(self, request: ChatRequest) -> None:
        """Warm the prompt cache of the one that will be asked first."""
        for service in self._services:
            for instance in self._instances.to_ask(service, request.session):
                await instance.client.prefill(replace(request, slot=-1))
                return
        if self._own is not None:
            await self._own.prefill(request)

    async def close(self) -> None:
        """Do nothing: the pool closes what its clients share."""
