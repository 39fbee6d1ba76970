"""A chat model that is wherever the house's directory says, with this machine's own behind it.

It owns which endpoint is asked, when the next one is, and saying who answers. Connections and what was seen
of them are `instances`'s; an answer that breaks off after its first piece is the caller's to repair.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from pipecatapp.errors import AdapterError
from pipecatapp.experts.instances import Instances, answer_of
from pipecatapp.ports import ChatDelta, ChatRequest, Endpoint, LlmClient

log = logging.getLogger(__name__)

OUR_FAULT = "llm-request"
"""Code of a request that no endpoint would take."""


class ExpertLlm:
    """A chat model behind the name of an expert; made by `ExpertPool.client`.

    Args:
        expert: Such as `main`.
        services: Whose endpoints are asked, one service after the other.
        instances: The endpoints; the pool closes them.
        own: This machine's own model, asked last; the pool closes it. None for none.
    """

    def __init__(
        self, expert: str, services: Sequence[str], instances: Instances, *, own: LlmClient | None = None
    ) -> None:
        self._expert = expert
        self._services = tuple(services)
        self._instances = instances
        self._own = own

    @property
    def name(self) -> str:
        """The expert that there is, or this machine's own model."""
        if self._own is not None and not self.is_up():
            return self._own.name
        return f"expert {self._expert}"

    def is_up(self) -> bool:
        """Whether an endpoint passes its checks."""
        return any(self._instances.directory.current(service) for service in self._services)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[ChatDelta, None]:
        """Yield the answer of the first endpoint that begins one; each piece says by whom it is.

        Raises:
            AdapterError: None did, or the one that did broke off; `no-expert` when there is none to ask.
        """
        failure: AdapterError | None = None
        because = ""
        for endpoint in self._candidates():
            has_begun = False
            client = self._instances.client(endpoint)
            try:
                # Prompt caches are numbered by one client; the experts of the house have many.
                async with aclosing(self._instances.ask(endpoint, replace(request, slot=-1))) as deltas:
                    async for delta in deltas:
                        has_begun = True
                        yield replace(delta, by=client.name, because=because)
                return
            except AdapterError as exc:
                if has_begun or exc.code == OUR_FAULT:
                    raise
                failure = exc
                because = exc.message
                self._instances.failed(endpoint)
                log.warning("An expert does not answer", extra={"endpoint": endpoint.url, "code": exc.code})
        if self._own is not None:
            async with aclosing(answer_of(self._own, request)) as deltas:
                async for delta in deltas:
                    yield replace(delta, by=self._own.name, because=because)
            return
        if failure is not None:
            raise failure
        raise AdapterError(
            "no-expert",
            f"{self._instances.directory.name} knows no {' and no '.join(self._services)}, "
            "and this machine has no language model.",
            hint="Start an expert, or set LLM_BASE_URL.",
            retryable=True,
        )

    async def prefill(self, request: ChatRequest) -> None:
        """Warm the prompt cache of the one that will be asked first."""
        candidates = self._candidates()
        if candidates:
            await self._instances.client(candidates[0]).prefill(replace(request, slot=-1))
        elif self._own is not None:
            await self._own.prefill(request)

    async def close(self) -> None:
        """Do nothing: the pool closes what its clients share."""

    def _candidates(self) -> list[Endpoint]:
        return [endpoint for service in self._services for endpoint in self._instances.to_ask(service)]
