"""Turns of one session: answered, prepared, withdrawn, interrupted, failed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from pipecatapp.agent import fallback_replies
from pipecatapp.agent.session import RunWorkflow, Session
from pipecatapp.agent.turn import Turn
from pipecatapp.errors import AdapterError, SessionError, WorkflowRuntimeError
from pipecatapp.events import MemorySaved, ToolFinished, ToolStarted
from pipecatapp.ports import Message
from pipecatapp.workflow.run_events import RunEvent, RunFinished
from testing.fakes.fake_clock import FakeClock
from testing.fakes.fake_memory import FakeMemory
from testing.fakes.scripted_workflow import ScriptedWorkflow, Step

pytestmark = pytest.mark.unit


class Talk:
    """A session, and what a test looks at."""

    def __init__(
        self, *scripts: Sequence[Step], clock: FakeClock | None = None, run: RunWorkflow | None = None
    ) -> None:
        self.workflow = ScriptedWorkflow(*scripts)
        self.memory = FakeMemory()
        self.clock = clock or FakeClock()
        self.session = Session(
            "s",
            run_workflow=run or self.workflow,
            store=self.memory,
            clock=self.clock,
            max_text_chars=100,
            spoken_grace_s=0.01,
        )

    def kinds(self) -> list[str]:
        return [event["kind"] for event in self.events()]

    def events(self) -> list[dict[str, object]]:
        bus = self.session.bus
        found = [bus.read(seq) for seq in range(bus.first_seq, bus.last_seq + 1)]
        return [event for event in found if event is not None]

    async def stored(self) -> list[tuple[str, str, bool]]:
        turns = await self.memory.recent_turns("s", limit=100)
        return [(turn.user_text, turn.assistant_text, turn.interrupted) for turn in turns]


async def read(turn: Turn) -> str:
    return "".join([piece async for piece in turn.deltas()])


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_text_turn_streams_is_kept_and_told() -> None:
    talk = Talk(["Hello", ", Alex."])
    turn = talk.session.begin_turn("  hi ", "text")
    assert await read(turn) == "Hello, Alex."
    talk.clock.advance(5)
    result = await turn.finish()
    assert result is not None and (result.text, result.interrupted) == ("Hello, Alex.", False)
    assert talk.kinds() == ["turn_started", "assistant_delta", "assistant_delta", "turn_finished"]
    assert await talk.stored() == [("hi", "Hello, Alex.", False)]
    assert talk.session.current is None


async def test_latency_is_until_the_answer_was_made() -> None:
    clock = FakeClock()
    talk = Talk(["One.", lambda: clock.advance(0.25)], clock=clock)
    turn = talk.session.begin_turn("hi", "text")
    await read(turn)
    clock.advance(9)
    result = await turn.finish()
    assert result is not None and result.latency_ms == 250.0


async def test_the_next_turn_knows_the_last_ones() -> None:
    talk = Talk(["First."], ["Second."])
    for text in ("one", "two"):
        turn = talk.session.begin_turn(text, "text")
        await read(turn)
        await turn.finish()
    assert talk.workflow.inputs[0]["history"] == []
    assert talk.workflow.inputs[1]["history"] == [Message("user", "one"), Message("assistant", "First.")]
    assert talk.workflow.inputs[1]["user_text"] == "two"


async def test_finishing_twice_keeps_one_turn() -> None:
    talk = Talk()
    turn = talk.session.begin_turn("hi", "text")
    await read(turn)
    first, second = await asyncio.gather(turn.finish(), turn.finish("other", interrupted=True))
    assert first == second
    assert await talk.stored() == [("hi", "Hello.", False)]
    assert talk.kinds().count("turn_finished") == 1


async def test_tool_calls_are_published_and_told() -> None:
    started = ToolStarted("t", "c1", "clock", {"what": "time"})
    talk = Talk(
        [
            started,
            ToolFinished(turn_id="t", call_id="c1", name="clock", ok=True, result="It is noon."),
            asyncio.Event(),
        ]
    )
    turn = talk.session.begin_turn("time?", "text")
    reading = asyncio.create_task(read(turn))
    await settle()
    turn.interrupt()
    await reading
    result = await turn.finish()
    assert "tool_started" in talk.kinds() and "tool_finished" in talk.kinds()
    assert result is not None and result.tool_calls == (
        {"id": "c1", "name": "clock", "arguments": {"what": "time"}, "ok": True, "result": "It is noon."},
    )


async def test_a_speculation_is_silent_until_confirmed_then_told_in_order() -> None:
    talk = Talk(["Early", "<confirmed>", MemorySaved("f", "fact"), " late."])
    turn = talk.session.begin_turn("hi", "voice", speculative=True)
    reading = asyncio.create_task(read(turn))
    await settle()
    assert turn.answer == "Early"
    assert talk.events() == []
    turn.confirm()
    assert await reading == "Early late."
    await turn.finish("Early late.")
    assert talk.kinds() == [
        "turn_started",
        "assistant_delta",
        "memory_saved",
        "assistant_delta",
        "turn_finished",
    ]


async def test_a_withdrawn_speculation_leaves_no_trace() -> None:
    saved: list[str] = []
    talk = Talk(["Early", "<confirmed>", lambda: saved.append("effect")])
    turn = talk.session.begin_turn("hi", "voice", speculative=True)
    reading = asyncio.create_task(read(turn))
    await settle()
    await turn.discard()
    assert await reading == "Early"
    await turn.discard()
    assert (talk.events(), await talk.stored(), talk.session.turns, saved) == ([], [], (), [])
    assert talk.workflow.ended == 1
    assert talk.session.current is None
    with pytest.raises(SessionError, match="withdrawn"):
        turn.confirm()


async def test_finishing_an_unconfirmed_speculation_withdraws_it() -> None:
    talk = Talk()
    turn = talk.session.begin_turn("hi", "voice", speculative=True)
    await read(turn)
    assert await turn.finish("Hello.") is None
    assert (talk.events(), await talk.stored()) == ([], [])


async def test_a_new_speculation_withdraws_the_former() -> None:
    talk = Talk([asyncio.Event()], ["Yes."])
    former = talk.session.begin_turn("what is", "voice", speculative=True)
    reading = asyncio.create_task(read(former))
    await settle()
    turn = talk.session.begin_turn("what is time", "voice", speculative=True)
    assert former.is_discarded
    assert await reading == ""
    turn.confirm()
    assert await read(turn) == "Yes."
    await turn.finish()
    assert await talk.stored() == [("what is time", "Yes.", False)]


async def test_a_confirmed_turn_cannot_be_withdrawn() -> None:
    turn = Talk().session.begin_turn("hi", "voice")
    with pytest.raises(SessionError, match="cannot be withdrawn"):
        await turn.discard()


async def test_barge_in_keeps_only_what_was_spoken() -> None:
    talk = Talk(["One. Two. ", asyncio.Event(), "Three."], ["Fine."])
    turn = talk.session.begin_turn("count", "voice")
    reading = asyncio.create_task(read(turn))
    await settle()
    turn.interrupt()
    await reading
    assert talk.workflow.ended == 1
    await turn.finish("One.", interrupted=True)
    assert await talk.stored() == [("count", "One.", True)]
    after = talk.session.begin_turn("and?", "voice")
    await read(after)
    assert talk.workflow.inputs[1]["history"] == [Message("user", "count"), Message("assistant", "One.")]
    assert talk.kinds()[:4] == ["turn_started", "assistant_delta", "interrupted", "turn_finished"]


async def test_a_turn_cut_before_its_first_sound_joins_the_next_question() -> None:
    talk = Talk(["One."], ["Two."])
    turn = talk.session.begin_turn("I have a", "voice")
    await read(turn)
    await turn.finish("", interrupted=True)
    following = talk.session.begin_turn("dog", "voice")
    await read(following)
    assert talk.workflow.inputs[1]["history"] == [Message("user", "I have a")]
    assert await talk.stored() == [("I have a", "", True)]


async def test_a_text_interrupts_the_text_before_it() -> None:
    talk = Talk(["Part", asyncio.Event()], ["New."])
    first = talk.session.begin_turn("long", "text")
    reading = asyncio.create_task(read(first))
    await settle()
    second = talk.session.begin_turn("stop", "text")
    assert await read(second) == "New."
    await second.finish()
    assert await reading == "Part"
    assert await talk.stored() == [("long", "Part", True), ("stop", "New.", False)]
    assert talk.kinds() == [
        "turn_started",
        "assistant_delta",
        "interrupted",
        "turn_finished",
        "turn_started",
        "assistant_delta",
        "turn_finished",
    ]
    assert len(talk.workflow.inputs[1]["history"]) == 2


async def test_a_text_over_a_silent_voice_turn_keeps_what_is_known_to_be_spoken() -> None:
    talk = Talk(["One. Two."], ["New."])
    voice = talk.session.begin_turn("count", "voice")
    await read(voice)
    voice.mark_spoken("One.")
    text = talk.session.begin_turn("stop", "text")
    assert voice.interrupted.is_set()
    assert await read(text) == "New."
    await text.finish()
    assert await talk.stored() == [("count", "One.", True), ("stop", "New.", False)]


@pytest.mark.parametrize(
    ("error", "sentence", "code"),
    [
        (AdapterError("llm-unreachable", "no server"), fallback_replies.PART_MISSING, "llm-unreachable"),
        (WorkflowRuntimeError("node-timeout", "node 'answer'"), fallback_replies.TOO_SLOW, "node-timeout"),
        (WorkflowRuntimeError("node-failed", "node 'x'"), fallback_replies.WENT_WRONG, "node-failed"),
        (ValueError("a bug"), fallback_replies.WENT_WRONG, "internal"),
    ],
)
async def test_a_failure_is_told_and_spoken_and_the_session_goes_on(
    error: Exception, sentence: str, code: str
) -> None:
    talk = Talk([error], ["Fine."])
    turn = talk.session.begin_turn("hi", "text")
    assert await read(turn) == sentence
    await turn.finish()
    assert talk.kinds() == ["turn_started", "error", "assistant_delta", "turn_finished"]
    assert talk.events()[1]["code"] == code
    assert "a bug" not in str(talk.events())
    again = talk.session.begin_turn("again", "text")
    assert await read(again) == "Fine."


async def test_a_failure_in_the_middle_is_added_to_what_was_said() -> None:
    talk = Talk(["The sky is", AdapterError("llm-broken", "gone")])
    turn = talk.session.begin_turn("sky?", "text")
    assert await read(turn) == f"The sky is {fallback_replies.PART_MISSING}"


async def test_an_empty_answer_is_not_silence() -> None:
    talk = Talk([])
    assert await read(talk.session.begin_turn("hi", "text")) == fallback_replies.NO_ANSWER


async def test_the_answer_of_a_workflow_that_does_not_stream_is_given_at_its_end() -> None:
    async def run(inputs: object, context: object) -> AsyncIterator[RunEvent]:
        yield RunFinished({"text": "Whole."}, "Whole.")

    talk = Talk(run=run)
    assert await read(talk.session.begin_turn("hi", "text")) == "Whole."


async def test_a_store_that_fails_is_told_and_the_turn_ends() -> None:
    talk = Talk(["One."], ["Two."])

    async def refuse(*_arguments: object, **_options: object) -> None:
        raise AdapterError("memory-full", "The disk is full.")

    talk.memory.append_turn = talk.memory.recent_turns = refuse  # type: ignore[method-assign,assignment]
    turn = talk.session.begin_turn("hi", "text")
    await read(turn)
    result = await turn.finish()
    assert result is not None and result.text == "One."
    assert talk.kinds()[-2:] == ["error", "turn_finished"]
    following = talk.session.begin_turn("more", "text")
    assert await read(following) == "Two."
    assert len(talk.workflow.inputs[1]["history"]) == 2


async def test_closing_the_reader_stops_the_work() -> None:
    talk = Talk(["One", asyncio.Event()])
    deltas = talk.session.begin_turn("hi", "text").deltas()
    assert await anext(deltas) == "One"
    await deltas.aclose()  # type: ignore[attr-defined]
    await settle()
    assert talk.workflow.ended == 1


async def test_only_one_reads_a_turn() -> None:
    turn = Talk().session.begin_turn("hi", "text")
    await read(turn)
    with pytest.raises(SessionError, match="goes elsewhere"):
        await read(turn)


@pytest.mark.parametrize(("text", "status"), [("", 422), (" \n", 422), ("x" * 101, 413)])
async def test_a_text_that_cannot_be_a_turn_is_refused(text: str, status: int) -> None:
    talk = Talk()
    with pytest.raises(SessionError) as caught:
        talk.session.begin_turn(text, "text")
    assert caught.value.status == status
    assert talk.events() == []


async def test_closing_keeps_what_was_said_and_leaves_no_task() -> None:
    talk = Talk(["One", asyncio.Event()])
    turn = talk.session.begin_turn("hi", "text")
    reading = asyncio.create_task(read(turn))
    await settle()
    await talk.session.close()
    assert await reading == "One"
    assert await talk.stored() == [("hi", "One", True)]
    assert asyncio.all_tasks() == {asyncio.current_task()}
    with pytest.raises(SessionError, match="closed"):
        talk.session.begin_turn("hi", "text")


async def test_a_session_is_in_use_while_someone_works_listens_or_calls() -> None:
    talk = Talk([asyncio.Event()])
    talk.clock.advance(3)
    assert (talk.session.is_in_use, talk.session.idle_s) == (False, 3)
    subscription = talk.session.bus.subscribe()
    assert talk.session.is_in_use
    subscription.close()
    talk.session.attach()
    assert talk.session.idle_s == 0
    talk.session.detach()
    assert not talk.session.is_in_use
    reading = asyncio.create_task(read(talk.session.begin_turn("hi", "text")))
    await settle()
    assert talk.session.is_in_use
    await talk.session.close()
    await reading
