"""Sessions are opened, found, revived, kept apart and closed; text is answered; the memory is shared."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from pipecatapp.adapters.memory.state_folder import StateFolder
from pipecatapp.agent import service as service_module
from pipecatapp.agent.service import ChatReply, TwinService
from pipecatapp.errors import AdapterError, ConfigError, SessionError
from pipecatapp.ports import StoredTurn
from pipecatapp.settings import Settings
from testing.fakes.fake_clock import FakeClock
from testing.fakes.fake_memory import FakeMemory
from testing.fakes.scripted_workflow import ScriptedWorkflow, Step

pytestmark = pytest.mark.unit


class House:
    """A service and what is below it; `again` is the same house after a restart."""

    def __init__(
        self,
        folder: Path,
        *scripts: Sequence[Step],
        memory: FakeMemory | None = None,
        benchmark_mode: bool = False,
    ) -> None:
        self.workflow = ScriptedWorkflow(*scripts)
        self.memory = memory or FakeMemory()
        self.clock = FakeClock()
        self.folder = folder
        settings = Settings(data_dir=folder, max_text_chars=50, worker=2, benchmark_mode=benchmark_mode)  # type: ignore[call-arg]
        self.service = TwinService(
            self.workflow, self.memory, self.clock, settings, StateFolder(folder / "states")
        )

    def again(self) -> House:
        return House(self.folder, memory=self.memory)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path)
    yield made
    await made.service.close()


async def test_a_chat_opens_a_session_and_goes_on_in_it(house: House) -> None:
    first = await house.service.chat("", "hi")
    second = await house.service.chat(first.session_id, "again")
    assert first == ChatReply(
        session_id=first.session_id, text="Hello.", interrupted=False, tool_calls=(), latency_ms=0.0
    )
    assert second.session_id == first.session_id
    assert len(house.workflow.inputs[1]["history"]) == 2
    assert first.session_id.startswith("w2-")
    assert first.to_wire()["text"] == "Hello."


@pytest.mark.parametrize("is_measured", [True, False])
async def test_benchmark_mode_tells_the_log_each_turns_latency(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, is_measured: bool
) -> None:
    house = House(tmp_path, benchmark_mode=is_measured)
    with caplog.at_level("INFO"):
        await house.service.chat("", "hi")
    told = [record for record in caplog.records if record.getMessage() == "Turn latency"]
    assert len(told) == is_measured
    assert all(vars(record)["latency_ms"] == 0.0 and vars(record)["turn_id"] for record in told)


async def test_a_streamed_chat_gives_pieces_then_the_reply(tmp_path: Path) -> None:
    house = House(tmp_path, ["One", " two."])
    pieces = [piece async for piece in await house.service.stream_chat("", "hi")]
    assert pieces[:2] == ["One", " two."]
    assert isinstance(pieces[2], ChatReply) and pieces[2].text == "One two."
    await house.service.close()


async def test_a_reader_that_leaves_ends_the_turn_with_what_was_written(tmp_path: Path) -> None:
    house = House(tmp_path, ["One", asyncio.Event()])
    session = await house.service.open()
    pieces = await house.service.stream_chat(session.id, "hi")
    assert await anext(pieces) == "One"
    await pieces.aclose()  # type: ignore[attr-defined]
    assert [(turn.assistant_text, turn.interrupted) for turn in session.turns] == [("One", True)]
    assert house.workflow.ended == 1
    await house.service.close()


@pytest.mark.parametrize(
    ("session_id", "text", "status"),
    [("nobody", "hi", 404), ("../../etc", "hi", 404), ("", "", 422), ("", "x" * 51, 413)],
)
async def test_a_bad_chat_is_refused_before_anything_begins(
    house: House, session_id: str, text: str, status: int
) -> None:
    with pytest.raises(SessionError) as caught:
        await house.service.stream_chat(session_id, text)
    assert caught.value.status == status
    assert house.service.sessions() == []
    assert house.workflow.inputs == []


async def test_an_unknown_session_is_not_found_but_a_page_that_comes_back_gets_one(house: House) -> None:
    with pytest.raises(SessionError, match="no conversation 'nobody'"):
        house.service.get("nobody")
    session = await house.service.resume("nobody")
    assert session.id != "nobody"
    assert house.service.get(session.id) is session
    assert await house.service.open(session.id) is session


async def test_sessions_share_nothing_but_the_memory(house: House) -> None:
    one, two = await house.service.open(), await house.service.open()
    await asyncio.gather(house.service.chat(one.id, "for one"), house.service.chat(two.id, "for two"))
    assert [turn.user_text for turn in one.turns] == ["for one"]
    assert [turn.user_text for turn in two.turns] == ["for two"]
    assert {one.bus.read(2)["text"], two.bus.read(2)["text"]} == {"for one", "for two"}  # type: ignore[index]
    await house.service.chat(two.id, "more")
    assert [message.content for message in house.workflow.inputs[2]["history"]] == ["for two", "Hello."]
    assert len({one.id, two.id}) == 2


async def test_a_session_is_revived_after_a_restart(house: House) -> None:
    reply = await house.service.chat("", "hi")
    await house.service.close()
    later = house.again()
    revived = await later.service.open(reply.session_id)
    assert [turn.user_text for turn in revived.turns] == ["hi"]
    await later.service.chat(reply.session_id, "again")
    assert len(later.workflow.inputs[0]["history"]) == 2
    await later.service.close()


async def test_opening_one_session_twice_at_once_gives_one(house: House) -> None:
    reply = await house.service.chat("", "hi")
    await house.service.close()
    later = house.again().service
    left, right = await asyncio.gather(later.open(reply.session_id), later.open(reply.session_id))
    assert left is right
    await later.close()


async def test_idle_sessions_are_closed_and_come_back(house: House) -> None:
    reply = await house.service.chat("", "hi")
    listened = await house.service.open()
    subscription = listened.bus.subscribe()
    house.clock.advance(601)
    assert await house.service.close_idle(600) == 1
    assert [item["session_id"] for item in house.service.sessions()] == [listened.id]
    assert (await house.service.open(reply.session_id)).turns[0].user_text == "hi"
    subscription.close()


async def test_past_the_limit_idle_sessions_make_room_and_used_ones_do_not(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "MAX_SESSIONS", 2)
    idle = await house.service.open()
    house.clock.advance(1)
    for _ in range(2):
        (await house.service.open()).attach()
    with pytest.raises(SessionError, match="no conversation"):
        house.service.get(idle.id)
    with pytest.raises(SessionError) as caught:
        await house.service.open()
    assert caught.value.status == 503
    assert len(house.service.sessions()) == 2


async def test_a_stopping_service_opens_nothing(house: House) -> None:
    await house.service.close()
    with pytest.raises(SessionError) as caught:
        await house.service.open()
    assert caught.value.status == 503


async def test_the_status_counts(house: House) -> None:
    await house.service.chat("", "hi")
    house.clock.advance(2)
    status = house.service.status()
    assert (status["worker"], status["sessions"], status["sessions_in_use"]) == (2, 1, 0)
    assert status["uptime_s"] == 2.0
    assert house.service.sessions()[0]["turns"] == 1


async def test_a_saved_state_comes_back_also_into_open_sessions(house: House) -> None:
    await house.memory.add_fact("My dog is called Biscuit.")
    reply = await house.service.chat("", "before")
    saved = await house.service.save_state("monday")
    assert [state.name for state in await house.service.list_states()] == ["monday"]
    assert saved.size_bytes > 100
    await house.service.chat(reply.session_id, "after")
    await house.memory.add_fact("My cat is called Tom.")
    assert await house.service.load_state("monday") == {"facts": 1, "conversations": 1}
    assert [fact.text for fact in await house.service.search_memory("")] == ["My dog is called Biscuit."]
    assert [turn.user_text for turn in house.service.get(reply.session_id).turns] == ["before"]


class AwayMemory(FakeMemory):
    """A memory that cannot be reached."""

    is_away = True

    async def recent_turns(self, session_id: str, *, limit: int) -> list[StoredTurn]:
        if self.is_away:
            raise AdapterError("memory-away", "The memory service does not answer.", retryable=True)
        return await super().recent_turns(session_id, limit=limit)


async def test_whoever_comes_back_while_the_memory_is_away_is_answered_and_the_past_follows(
    tmp_path: Path,
) -> None:
    memory = AwayMemory()
    await memory.append_turn(
        "known-session",
        StoredTurn(turn_id="t", user_text="before", assistant_text="yes", interrupted=False, created_s=1.0),
    )
    house = House(tmp_path, memory=memory)
    assert (await house.service.chat("known-session", "hi")).session_id == "known-session"
    memory.is_away = False
    await house.service.chat("known-session", "again")
    assert [turn.user_text for turn in house.service.get("known-session").turns] == ["before", "hi", "again"]
    with pytest.raises(SessionError, match="no conversation"):
        await house.service.open("unknown-session")
    await house.service.close()


async def test_a_bad_saved_state_leaves_the_memory_as_it_is(house: House, tmp_path: Path) -> None:
    fact = await house.memory.add_fact("My dog is called Biscuit.")
    await house.service.save_state("monday")
    file = tmp_path / "states" / "monday.json"
    text = await asyncio.to_thread(file.read_text)
    await asyncio.to_thread(file.write_text, text[:-20])
    with pytest.raises(ConfigError):
        await house.service.load_state("monday")
    assert await house.memory.list_facts() == [fact]


async def test_facts_are_searched_and_forgotten_one_by_one_or_all(house: House) -> None:
    dog = await house.memory.add_fact("My dog is called Biscuit.")
    await house.memory.add_fact("My cat is grey.")
    reply = await house.service.chat("", "hi")
    assert (await house.service.search_memory("dog called"))[0].id == dog.id
    await house.service.delete_memory(dog.id)
    with pytest.raises(SessionError) as caught:
        await house.service.delete_memory(dog.id)
    assert caught.value.status == 404
    assert await house.service.delete_all_memory() == 1
    assert house.service.get(reply.session_id).turns == ()
    await house.service.chat(reply.session_id, "again")
    assert house.workflow.inputs[-1]["history"] == []
