"""Real servers of one expert are killed and stopped in mid-reply; the listener hears one reply.

It owns the claims about what a whole turn then says, and tells how long its first word took. Who is asked
when is tested in virtual time, in `testing/unit/experts`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from pipecatapp.adapters.discovery.static import StaticDirectory
from pipecatapp.adapters.llm.openai_chat import OpenAiLlm
from pipecatapp.adapters.llm.server_process import llama_server_command
from pipecatapp.adapters.memory.state_folder import StateFolder
from pipecatapp.agent.fallback_replies import PART_MISSING
from pipecatapp.agent.service import TwinService
from pipecatapp.agent.session import Session
from pipecatapp.app.clock import SystemClock
from pipecatapp.experts.pool import ExpertPool
from pipecatapp.ports import Endpoint, LlmClient
from pipecatapp.settings import Settings
from pipecatapp.workflow.loader import load_workflow
from pipecatapp.workflow.runner import WorkflowRunner
from testing.e2e.engine_models import SMOLLM, llama_binary, model
from testing.e2e.processes import until_healthy
from testing.fakes.fake_memory import FakeMemory
from testing.unit.workflow.conftest import services_of

pytestmark = pytest.mark.e2e

ASK = "Tell me the story of a dog who finds a golden key in the garden."
STORY = (
    "A small brown dog once dug a deep hole under the old apple tree. There it found a golden key, bright as "
    "a morning in June. It opened the little gate behind the church, and there stood a friend."
)
"""The one answer that the schema allows, so that each word of it is known."""
SCHEMA = {
    "type": "object",
    "properties": {"story": {"const": STORY}},
    "required": ["story"],
    "additionalProperties": False,
}
WORKFLOW = """
name: story
inputs: {user_text: text}
nodes:
  - id: ask
    type: prompt
    config: {system: assistant_system, user: assistant_user}
    inputs: {user_text: input.user_text}
  - id: answer
    type: llm
    config: {max_tokens: 600, json_schema: %s}
    inputs: {messages: ask.messages}
    timeout_s: 60
outputs: {text: answer.text}
"""


@dataclass
class Server:
    """A llama-server of its own process, which nobody starts again."""

    name: str
    port: int = 0
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = llama_server_command(llama_binary(), model(SMOLLM), threads=1, context=1024, slots=2)
        self.process = await asyncio.create_subprocess_exec(
            *command(self.port), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        async with httpx.AsyncClient(trust_env=False) as http:
            await until_healthy(http, self.port, 60)

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        if self.process.returncode is None:
            os.kill(self.process.pid, number)

    async def end(self) -> None:
        assert self.process is not None
        self.send(signal.SIGCONT)
        self.send(signal.SIGKILL)
        await self.process.wait()

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(
            service="llama-api-main", id=self.name, node=self.name, address="127.0.0.1", port=self.port
        )

    def client(self) -> OpenAiLlm:
        return OpenAiLlm(f"http://127.0.0.1:{self.port}/v1", "smollm2", name=self.name)


@dataclass
class Heard:
    """What a listener heard of one turn, and what the page was told."""

    text: str = ""
    first_word_s: float = 0.0
    by: list[tuple[str, str]] = field(default_factory=list)


class House:
    """Servers of the expert `main`, and the agent that asks them."""

    def __init__(self, folder: Path, servers: list[Server], own: LlmClient | None, *, is_free: bool) -> None:
        self.servers = {server.name: server for server in servers}
        self.pool = ExpertPool(
            StaticDirectory(SystemClock(), [server.endpoint for server in servers]),
            lambda endpoint: self.servers[endpoint.node].client(),
            SystemClock(),
            own=own,
        )
        path = folder / "story.yaml"
        path.write_text(WORKFLOW % json.dumps(None if is_free else SCHEMA), encoding="utf-8")
        runner = WorkflowRunner(load_workflow(path), services_of(self.pool.client("main")))
        settings = Settings(TWIN_DATA_DIR=folder)  # type: ignore[call-arg]
        states = StateFolder(folder / "states")
        self._sessions: list[Session] = []
        self.agent = TwinService(runner.run, FakeMemory(), SystemClock(), settings, states)

    async def say(
        self,
        after_words: int = -1,
        then: Callable[[str], None] = lambda _: None,
        said: list[str] | None = None,
    ) -> Heard:
        """Have a turn answered; do something to who speaks once it has said some words, put into `said`."""
        session = await self.session()
        told_before = session.bus.last_seq
        heard, began_s = Heard(), time.monotonic()
        turn = session.begin_turn(ASK, "text")
        async for piece in turn.deltas():
            heard.first_word_s = heard.first_word_s or time.monotonic() - began_s
            heard.text += piece
            if len(heard.text.split()) >= after_words >= 0:
                after_words = -1
                if said is not None:
                    said.append(heard.text)
                then(self._told(told_before)[-1][0])
        await turn.finish()
        heard.by = self._told(told_before)
        return heard

    async def session(self) -> Session:
        """Return the one conversation, so that one server is asked first each time."""
        if not self._sessions:
            self._sessions.append(await self.agent.open())
        return self._sessions[0]

    async def asked_first(self) -> str:
        """Return the server that the conversation asks first."""
        session = await self.session()
        return self.pool.backends.candidates("llama-api-main", session.id)[0].endpoint.node

    def _told(self, after_seq: int) -> list[tuple[str, str]]:
        bus = self._sessions[0].bus
        events = [bus.read(seq) for seq in range(after_seq + 1, bus.last_seq + 1)]
        return [(str(e["by"]), str(e["because"])) for e in events if e and e["kind"] == "answered_by"]

    async def close(self) -> None:
        await self.agent.close()
        await self.pool.close()


MakeHouse = Callable[..., Awaitable[House]]
Tell = Callable[..., None]


@pytest.fixture
async def make_house(tmp_path: Path) -> AsyncIterator[MakeHouse]:
    """Return a function that brings up so many servers, and one more as this machine's own model."""
    servers: list[Server] = []
    houses: list[House] = []

    async def make(count: int, *, has_own: bool = False, is_free: bool = False) -> House:
        servers.extend(Server(name) for name in [*"abc"[:count], *(["own"] if has_own else [])])
        await asyncio.gather(*(server.start() for server in servers))
        own = servers[-1].client() if has_own else None
        houses.append(House(tmp_path, servers[:count], own, is_free=is_free))
        return houses[-1]

    yield make
    for house in houses:
        await house.close()
    await asyncio.gather(*(server.end() for server in servers))


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Tell:
    """Return a function that tells a time, past pytest's capture with -s and into its report without."""

    def write(heard: Heard) -> None:
        who = " -> ".join(by for by, _ in heard.by) or "nobody"
        sys.stdout.write(f"{request.node.name}: first word after {heard.first_word_s:.2f} s, by {who}\n")

    return write


async def test_a_server_killed_in_mid_reply_is_gone_on_for(make_house: MakeHouse, tell: Tell) -> None:
    house = await make_house(2)
    killed: list[str] = []

    def kill(who: str) -> None:
        killed.append(who)
        house.servers[who].send(signal.SIGKILL)

    heard = await house.say(15, kill)
    tell(heard)
    assert [by for by, _ in heard.by[-2:]] == [killed[0], *house.servers.keys() - set(killed)]
    assert killed[0] in heard.by[-1][1]
    assert json.loads(heard.text) == {"story": STORY}, "no word is lost, and none comes twice"
    after = await house.say()
    assert [by for by, _ in after.by] == [heard.by[-1][0]], "who is gone is not asked again"


async def test_a_free_reply_goes_on_and_does_not_begin_again(make_house: MakeHouse, tell: Tell) -> None:
    house = await make_house(2, is_free=True)
    said: list[str] = []

    def kill(who: str) -> None:
        house.servers[who].send(signal.SIGKILL)

    heard = await house.say(15, kill, said)
    tell(heard)
    rest = heard.text.removeprefix(said[0])
    assert rest != heard.text
    assert len(rest.split()) > 5
    assert " ".join(said[0].split()[:4]) not in rest[: len(said[0])], "it does not begin again"
    assert not rest.lstrip().startswith(" ".join(said[0].split()[-3:])), "it does not repeat"


async def test_one_that_hangs_is_passed_over_by_a_hedge(make_house: MakeHouse, tell: Tell) -> None:
    house = await make_house(2)
    await house.say()
    hung = await house.asked_first()
    house.servers[hung].send(signal.SIGSTOP)
    heard = await house.say()
    tell(heard)
    assert heard.by[0][0] != hung
    assert f"{hung} was silent for" in heard.by[0][1]
    assert json.loads(heard.text) == {"story": STORY}


async def test_one_that_hangs_in_mid_reply_is_gone_on_for(make_house: MakeHouse, tell: Tell) -> None:
    house = await make_house(2)
    heard = await house.say(15, lambda who: house.servers[who].send(signal.SIGSTOP))
    tell(heard)
    assert "fell silent" in heard.by[-1][1]
    assert json.loads(heard.text) == {"story": STORY}


async def test_when_every_expert_is_dead_this_machines_own_answers(make_house: MakeHouse, tell: Tell) -> None:
    house = await make_house(2, has_own=True)
    for server in house.servers.values():
        server.send(signal.SIGKILL)
    heard = await house.say()
    tell(heard)
    assert heard.by[0][0] == "own"
    assert "cannot be reached" in heard.by[0][1]
    assert json.loads(heard.text) == {"story": STORY}


async def test_this_machines_own_model_goes_on_when_every_expert_dies_in_mid_reply(
    make_house: MakeHouse, tell: Tell
) -> None:
    house = await make_house(2, has_own=True)

    def kill_all(_: str) -> None:
        for server in house.servers.values():
            server.send(signal.SIGKILL)

    heard = await house.say(15, kill_all)
    tell(heard)
    assert heard.by[-1][0] == "own"
    assert json.loads(heard.text) == {"story": STORY}


async def test_when_nobody_is_left_a_sentence_says_so(make_house: MakeHouse, tell: Tell) -> None:
    house = await make_house(2, is_free=True)
    said: list[str] = []

    def kill_all(_: str) -> None:
        for server in house.servers.values():
            server.send(signal.SIGKILL)

    heard = await house.say(15, kill_all, said)
    assert heard.text.startswith(said[0])
    assert heard.text.endswith(f" {PART_MISSING}")
    silent = await house.say()
    tell(silent)
    assert (silent.text, silent.by) == (PART_MISSING, [])
