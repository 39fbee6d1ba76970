"""Every expert of the cluster by its name.

It owns the one client of each expert and what they share: the connections, and what was seen of each
endpoint. Whom a client asks is `expert_llm`'s.
"""

from __future__ import annotations

import asyncio

from pipecatapp.experts.backend_pool import BackendPool, Connect
from pipecatapp.experts.expert_llm import ExpertLlm
from pipecatapp.experts.hedged_request import HedgingPolicy
from pipecatapp.experts.service_names import service_of
from pipecatapp.ports import MAIN_EXPERT, Clock, LlmClient, ServiceDirectory


class ExpertPool:
    """The experts that may be asked.

    Any name may be asked for: an expert that nobody knows yet is found once it comes, and until then `main`
    answers for it.

    Args:
        directory: Where they are.
        connect: Makes a client of an endpoint.
        clock: Time.
        own: This machine's own model, asked last for every expert, and closed with the pool; None for none.
        uses_only_own_llm: `own` is the expert `main`: no other is asked for it, whatever the directory knows.
        policy: How long a call waits for what.
    """

    def __init__(
        self,
        directory: ServiceDirectory,
        connect: Connect,
        clock: Clock,
        *,
        own: LlmClient | None = None,
        uses_only_own_llm: bool = False,
        policy: HedgingPolicy | None = None,
    ) -> None:
        self.backends = BackendPool(directory, connect, clock)
        """What there is, and what was seen of it."""
        self._clock = clock
        self._policy = policy or HedgingPolicy()
        self._own = own
        self._main = () if uses_only_own_llm else (service_of(MAIN_EXPERT),)
        self._clients: dict[str, ExpertLlm] = {}

    def client(self, expert: str) -> ExpertLlm:
        """Return the client of an expert, such as `main`; always the same one for a name."""
        if expert not in self._clients:
            before = () if expert == MAIN_EXPERT else (service_of(expert),)
            services = (*before, *self._main)
            self._clients[expert] = ExpertLlm(
                expert, services, self.backends, self._clock, own=self._own, policy=self._policy
            )
        return self._clients[expert]

    async def close(self) -> None:
        """Let go of every connection, and of this machine's own model."""
        own = [self._own.close()] if self._own is not None else []
        await asyncio.gather(self.backends.close(), *own)
