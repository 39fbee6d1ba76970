"""Reading ahead: the model meets the conversation before it must answer.

It owns when a session has it read and when it stops; warming a cache is the engine's.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pipecatapp.adapters.memory.state_folder import StateFolder
from pipecatapp.agent.service import TwinService
from pipecatapp.ports import Message
from pipecatapp.settings import Settings
from testing.fakes.fake_clock import FakeClock
from testing.fakes.fake_memory import FakeMemory
from testing.fakes.scripted_workflow import ScriptedWorkflow

pytestmark = pytest.mark.unit


class Reader:
    """Notes what it is given to read; reads until told, when it is slow."""

    def __init__(self) -> None:
        self.read: list[tuple[list[str], str]] = []
        self.stopped = 0
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def __call__(self, history: list[Message], heard: str, session_id: str) -> None:
        assert session_id
        self.read.append(([message.content for message in history], heard))
        try:
            await self.goes_on.wait()
        except asyncio.CancelledError:
            self.stopped += 1
            raise


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def service(tmp_path: Path, reader: Reader) -> TwinService:
    settings = Settings(TWIN_DATA_DIR=tmp_path)  # type: ignore[call-arg]
    states = StateFolder(tmp_path / "states")
    return TwinService(
        ScriptedWorkflow(["Yes."]), FakeMemory(), FakeClock(), settings, states, prefill=reader
    )


async def test_a_finished_turn_is_read_as_it_stands(service: TwinService, reader: Reader) -> None:
    await service.chat("", "Is it late?")
    await asyncio.sleep(0)
    assert reader.read == [(["Is it late?", "Yes."], "")]


async def test_what_is_heard_is_read_behind_the_conversation(service: TwinService, reader: Reader) -> None:
    session = await service.open()
    session.prefill("What is the")
    await asyncio.sleep(0)
    assert reader.read == [([], "What is the")]


async def test_one_reading_at_a_time(service: TwinService, reader: Reader) -> None:
    reader.goes_on.clear()
    session = await service.open()
    session.prefill("What")
    await asyncio.sleep(0)
    session.prefill("What is")
    await asyncio.sleep(0)
    assert len(reader.read) == 1
    await service.close()


async def test_the_beginning_of_a_turn_stops_the_reading(service: TwinService, reader: Reader) -> None:
    reader.goes_on.clear()
    session = await service.open()
    session.prefill("What is")
    await asyncio.sleep(0)
    turn = session.begin_turn("What is it?", "voice", speculative=True)
    await asyncio.sleep(0)
    assert reader.stopped == 1
    await turn.discard()
    await service.close()
