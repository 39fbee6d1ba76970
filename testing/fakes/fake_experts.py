"""A scripted house of experts.

It owns who is said to be there, and a chat model for each; it finds nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipecatapp.ports import MAIN_EXPERT, Expert, LlmClient
from testing.fakes.fake_llm import FakeLlm


class FakeExperts:
    """Experts that are what they are told to be.

    Args:
        experts: Who is there besides `main`, or `main` itself with what it is good at.
        main: The chat model that is `main`, and answers for whoever has no model.
        clients: Chat models by name.
    """

    def __init__(
        self,
        *experts: Expert,
        main: LlmClient | None = None,
        clients: Mapping[str, LlmClient] | None = None,
    ) -> None:
        self._main = main or FakeLlm()
        self._clients = dict(clients or {})
        self._experts = {MAIN_EXPERT: Expert(MAIN_EXPERT)} | {expert.name: expert for expert in experts}
        self.asked: list[str] = []

    def all(self) -> Sequence[Expert]:
        return tuple(self._experts.values())

    def client(self, expert: str) -> LlmClient:
        self.asked.append(expert)
        return self._clients.get(expert, self._main)

    def put(self, expert: Expert, client: LlmClient | None = None) -> None:
        """Add an expert, or replace the one of its name."""
        self._experts[expert.name] = expert
        if client is not None:
            self._clients[expert.name] = client
