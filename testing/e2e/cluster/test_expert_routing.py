"""Experts that are deployed while the real agent runs are chosen by what they say in a real Consul."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from pipecatapp.adapters.llm.server_process import LlmServerProcess, llama_server_command
from pipecatapp.experts.expert_metadata import load_profiles, to_meta
from testing.cluster_agents import ConsulAgent
from testing.e2e.client import EventStream
from testing.e2e.engine_models import SMOLLM, llama_binary, model
from testing.e2e.service import ROOT, Service

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(600),
    pytest.mark.asyncio(loop_scope="module"),
]

SETTLE_S = 90.0
"""Time in which a change reaches the agent on a machine that does much else (seconds)."""
POEM = "Write me a short poem about the wind"


@dataclass(frozen=True)
class House:
    """The agent, the Consul that it follows, and a real language model server that may be any expert."""

    agent: Service
    consul: ConsulAgent
    server: LlmServerProcess

    @contextmanager
    def expert(self, name: str, meta: Mapping[str, str] | None = None) -> Iterator[None]:
        port = urlsplit(self.server.base_url).port
        assert port is not None
        service_id = self.consul.register(f"llama-api-{name}", port, meta=meta)
        try:
            yield
        finally:
            self.consul.deregister(service_id)

    async def until(self, is_true: Callable[[dict[str, dict[str, Any]]], bool]) -> None:
        """Wait until it is true of the experts that the agent tells of, by name."""
        deadline_s = time.monotonic() + SETTLE_S
        while not is_true({each["name"]: each for each in self.agent.get("/api/experts")["experts"]}):
            assert time.monotonic() < deadline_s, "it did not come about"
            await asyncio.sleep(0.1)

    async def ask(self, text: str) -> tuple[str, str, str]:
        """Ask in a new conversation; return the answer, who was chosen and why, and who answered."""
        stream = EventStream(self.agent.base_url, "", None)
        await stream.open()
        try:
            await stream.send({"type": "user_message", "text": text})
            done = await stream.next(lambda event: event["kind"] == "turn_finished", timeout_s=120)
            found = {event["kind"]: event for event in stream.events}
        finally:
            await stream.close()
        chosen = found.get("expert_chosen", {"expert": "main", "reason": ""})
        by = found.get("answered_by", {"by": ""})["by"]
        return str(done["text"]), f"{chosen['expert']} {chosen['reason']}".strip(), str(by)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    folder: Path = tmp_path_factory.mktemp("house")
    command = llama_server_command(llama_binary(), model(SMOLLM), threads=1, context=2048, slots=1)
    server = LlmServerProcess(command)
    await server.start()
    try:
        with ConsulAgent(folder / "consul") as consul:
            consul.start()
            settings = {
                "TWIN_CONSUL_URL": consul.url,
                "CONSUL_HTTP_TOKEN": consul.make_token(),
                "LLM_API_KEY": server.api_key,
                "TWIN_GREETING": "",
            }
            agent = await asyncio.to_thread(Service(folder / "agent", settings).start)
            try:
                yield House(agent, consul, server)
            finally:
                await asyncio.to_thread(agent.stop)
    finally:
        await server.close()


async def test_a_new_expert_is_asked_for_what_it_is_good_at_and_for_nothing_else(house: House) -> None:
    _, chosen, by = await house.ask(POEM)
    assert (chosen, "creative" in by) == ("main", False)

    said = to_meta(load_profiles(ROOT / "group_vars")["creative"])
    with house.expert("creative", said):
        await house.until(lambda told: told.get("creative", {}).get("passing") == 1)
        answer, chosen, by = await house.ask(POEM)
        assert chosen == "creative nearest to its examples"
        assert by == f"llama-api-creative on {house.consul.node}"
        assert answer

        answer, chosen, _ = await house.ask("What is 12 percent of 80?")
        assert (chosen, "9.6" in answer) == ("main", True)
        for small_talk in ("Good morning, how are you?", "What is the capital of Norway?"):
            _, chosen, by = await house.ask(small_talk)
            assert (chosen, "creative" in by) == ("main", False)

    await house.until(lambda told: "creative" not in told)
    _, chosen, by = await house.ask(POEM)
    assert (chosen, "creative" in by) == ("main", False)


async def test_an_expert_that_nobody_foresaw_is_chosen_by_what_it_says(house: House) -> None:
    garden = {
        "description": "Plants, lawns, vegetables and everything that grows in a garden.",
        "example_1": "When should I prune my roses?",
        "example_2": "My tomatoes have brown spots on their leaves",
    }
    with house.expert("garden", garden):
        await house.until(lambda told: told.get("garden", {}).get("passing") == 1)
        told = house.agent.get("/api/experts")["experts"]
        described = next(each for each in told if each["name"] == "garden")
        assert described["description"] == garden["description"]
        assert described["examples"] == [garden["example_1"], garden["example_2"]]
        _, chosen, by = await house.ask("How do I prune the roses in my garden?")
        assert chosen == "garden nearest to its examples"
        assert by.endswith(f"on {house.consul.node}")


async def test_an_expert_that_says_nothing_is_asked_by_its_name(house: House) -> None:
    with house.expert("tax"):
        await house.until(lambda told: told.get("tax", {}).get("passing") == 1)
        _, chosen, by = await house.ask("Ask the tax expert whether a cat is a pet")
        assert chosen == "tax asked for by name"
        assert by.endswith(f"on {house.consul.node}")
