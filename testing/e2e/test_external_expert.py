"""An expert elsewhere: a real server with a key of its own, which is lost in the middle of its answer.

It owns the claims about a whole agent whose owner has listed such a server. What the file may say is tested
in `testing/unit/experts/test_external.py`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio

from pipecatapp.adapters.llm.server_process import llama_server_command
from testing.e2e.client import EventStream
from testing.e2e.engine_models import SMOLLM, llama_binary, model
from testing.e2e.processes import until_healthy
from testing.e2e.service import ROOT, Service, free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="module")]

KEY = "a-key-that-only-they-know"
STORY = "Ask the oracle expert to tell a long story about a ship and the sea."
TIMEOUT_S = 120.0
FILE = """
external_experts:
  oracle:
    base_url: http://localhost:{port}/v1
    model: any
    key: theirs
    description: Prophecies.
"""


@dataclass
class Elsewhere:
    """A llama-server that wants a key, and that nobody starts again."""

    port: int
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        command = llama_server_command(llama_binary(), model(SMOLLM), threads=1, context=2048, slots=1)
        self.process = await asyncio.create_subprocess_exec(
            *command(self.port),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "LLAMA_API_KEY": KEY},
        )
        async with httpx.AsyncClient(trust_env=False) as http:
            await until_healthy(http, self.port, TIMEOUT_S)
            unnamed = await http.post(f"http://127.0.0.1:{self.port}/v1/chat/completions", json={})
            assert unnamed.status_code == 401, "it wants its key"

    async def kill(self) -> None:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()


@dataclass
class House:
    """An agent, and the server that its owner has listed."""

    agent: Service
    elsewhere: Elsewhere

    async def say(self, text: str, on_event: Callable[[dict[str, Any]], None] = lambda _: None) -> list[Any]:
        """Return the events of one turn of a new conversation; each is also handed to `on_event`."""
        stream = EventStream(self.agent.base_url, "", None)
        await stream.open()
        try:
            await stream.send({"type": "user_message", "text": text})

            def is_last(event: dict[str, Any]) -> bool:
                on_event(event)
                return bool(event["kind"] == "turn_finished")

            await stream.next(is_last, timeout_s=TIMEOUT_S)
            return list(stream.events)
        finally:
            await stream.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    folder: Path = tmp_path_factory.mktemp("house")
    catalogue, data = folder / "catalogue", folder / "agent" / "data"
    elsewhere = Elsewhere(free_port())
    catalogue.mkdir()
    for name in ("models.yaml", "artifacts.yaml", "experts.yaml"):
        shutil.copy(ROOT / "group_vars" / name, catalogue)
    (catalogue / "external_experts.yaml").write_text(FILE.format(port=elsewhere.port))
    data.mkdir(parents=True)
    (data / "external_keys.yaml").write_text(f"theirs: {KEY}\n")
    (data / "external_keys.yaml").chmod(0o600)
    await elsewhere.start()
    try:
        settings = {"TWIN_CATALOGUE_DIR": str(catalogue), "TWIN_GREETING": ""}
        agent = await asyncio.to_thread(Service(folder / "agent", settings).start)
        try:
            yield House(agent, elsewhere)
        finally:
            await asyncio.to_thread(agent.stop)
    finally:
        await elsewhere.kill()


def told(events: list[Any]) -> list[tuple[str, str]]:
    return [(event["by"], event["because"]) for event in events if event["kind"] == "answered_by"]


def words(events: list[Any]) -> str:
    return "".join(event["text"] for event in events if event["kind"] == "assistant_delta")


async def test_it_is_listed_with_its_address_and_without_its_key(house: House) -> None:
    listed = await asyncio.to_thread(house.agent.get, "/api/experts")
    oracle = next(each for each in listed["experts"] if each["name"] == "oracle")
    assert oracle["description"] == "Prophecies."
    assert oracle["endpoints"][0]["elsewhere"] == f"http://localhost:{house.elsewhere.port}/v1"
    assert KEY not in str(listed)


async def test_a_program_asks_it_through_the_gateway_by_its_name(house: House) -> None:
    url = f"{house.agent.base_url}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="none", timeout=TIMEOUT_S, max_retries=0) as client:
        assert [each.id async for each in await client.models.list()] == ["main", "oracle"]
        answer = await client.chat.completions.create(
            model="oracle", messages=[{"role": "user", "content": "Say hello."}], max_tokens=16
        )
    assert answer.choices[0].message.content
    assert answer.usage and answer.usage.completion_tokens > 0


async def test_whoever_asks_for_it_by_name_is_answered_by_it_and_nobody_else_is(house: House) -> None:
    events = await house.say("Ask the oracle expert what the weather will be.")
    assert told(events) == [("llama-api-oracle on localhost", "")]
    assert words(events)
    events = await house.say("What is the capital of Norway?")
    assert "oracle" not in str(told(events))


async def test_when_it_is_lost_in_mid_answer_the_house_goes_on_and_says_so(house: House) -> None:
    killed: list[int] = []

    def kill(event: dict[str, Any]) -> None:
        if event["kind"] == "assistant_delta" and not killed:
            killed.append(event["seq"])
            assert house.elsewhere.process is not None
            house.elsewhere.process.send_signal(signal.SIGKILL)

    events = await house.say(STORY, kill)
    (first, _), (second, because) = told(events)
    assert first == "llama-api-oracle on localhost"
    assert "oracle" not in second and first in because
    goes_on = next(event["seq"] for event in events if event["kind"] == "answered_by" and event["because"])
    assert len(words([event for event in events if event["seq"] > goes_on]).split()) > 5

    (after,) = told(await house.say(STORY))
    assert after[0] == second and after[1], "who is gone is said"


async def test_its_key_is_in_no_log(house: House) -> None:
    log = house.agent.log_path.read_text(errors="replace")
    assert "leaves the house" in log
    assert KEY not in log
