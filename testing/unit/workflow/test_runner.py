"""How a workflow runs: order, streaming, branches, loops, time limits, failures and cancellation.

It owns the claims about the engine; what single nodes decide is tested beside it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from pipecatapp.agent.fallback_replies import PART_MISSING, fallback_reply_for
from pipecatapp.errors import AdapterError, WorkflowRuntimeError
from pipecatapp.ports import ChatDelta, ChatRequest, Message, ToolResult, ToolSpec
from pipecatapp.workflow.run_events import EventRaised, TextPiece
from pipecatapp.workflow.services import RunContext
from testing.fakes.fake_llm import BreaksOff, FakeLlm
from testing.fakes.fake_memory import FakeMemory
from testing.fakes.fake_toolbox import FakeTool, FakeToolBox
from testing.unit.workflow.conftest import MakeBench
from testing.virtual_time import virtual_time

pytestmark = pytest.mark.unit

CHAT = """
inputs: {user_text: text}
nodes:
  - id: ask
    type: prompt
    config: {system: assistant_system, user: assistant_user}
    inputs: {user_text: input.user_text}
  - id: answer
    type: llm
    inputs: {messages: ask.messages}
    timeout_s: 0.02
outputs: {text: answer.text}
"""


class StepLlm(FakeLlm):
    """A model that gives each token only when it is told to."""

    def __init__(self, reply: str) -> None:
        super().__init__([reply], sleep=self._step)
        self.steps = asyncio.Semaphore(0)
        self.asked = asyncio.Event()
        self.stopped = 0

    async def _step(self, _seconds: float) -> None:
        self.asked.set()
        try:
            await self.steps.acquire()
        except asyncio.CancelledError:
            self.stopped += 1
            raise


async def test_text_arrives_while_the_model_still_speaks(bench: MakeBench) -> None:
    llm = StepLlm("One two three.")
    under_test = bench(CHAT.replace("0.02", "5"), llm=llm)
    seen = []

    async with aclosing(under_test.runner.run({"user_text": "Count"}, under_test.context)) as events:
        for expected in ("One", " two", " three."):
            llm.steps.release()
            event = await anext(events)
            assert isinstance(event, TextPiece)
            assert event.text == expected
            seen.append(event.text)

    assert "".join(seen) == "One two three."


async def test_a_finished_run_tells_its_outputs(bench: MakeBench) -> None:
    outcome = await bench(CHAT, llm=FakeLlm(["Hello you."])).run(user_text="Hello")

    assert outcome.pieces == ["Hello", " you."]
    assert outcome.finished.text == "Hello you."
    assert outcome.finished.outputs == {"text": "Hello you."}
    assert outcome.finished.tool_calls == ()


async def test_closing_the_run_stops_the_model_at_once(bench: MakeBench) -> None:
    llm = StepLlm("One two three four.")
    under_test = bench(CHAT.replace("0.02", "5"), llm=llm)
    before = asyncio.all_tasks()

    events = under_test.runner.run({"user_text": "Count"}, under_test.context)
    llm.steps.release()
    llm.steps.release()
    await anext(events)
    await events.aclose()

    assert llm.stopped == 1
    assert asyncio.all_tasks() == before


async def test_cancelling_the_reader_stops_the_model(bench: MakeBench) -> None:
    llm = StepLlm("One two three four.")
    under_test = bench(CHAT.replace("0.02", "5"), llm=llm)
    llm.steps.release()
    before = asyncio.all_tasks()
    reader = asyncio.create_task(under_test.run(user_text="Count"))
    await llm.asked.wait()

    reader.cancel()
    await asyncio.wait({reader})

    assert reader.cancelled()
    assert llm.stopped == 1
    assert asyncio.all_tasks() == before


async def test_a_node_without_progress_times_out_by_name(bench: MakeBench) -> None:
    under_test = bench(CHAT, llm=StepLlm("Never."))

    with pytest.raises(WorkflowRuntimeError, match=r"Node 'answer': no progress for 0\.02 seconds") as caught:
        await under_test.run(user_text="Hello")

    assert caught.value.code == "node-timeout"
    assert caught.value.retryable


@virtual_time
async def test_each_piece_of_text_gives_the_node_new_time(bench: MakeBench) -> None:
    llm = FakeLlm(["a b c d e f"], token_delay_s=0.008)

    outcome = await bench(CHAT, llm=llm).run(user_text="Hello")

    assert outcome.finished.text == "a b c d e f"


async def test_a_failure_that_may_pass_is_tried_again(bench: MakeBench) -> None:
    llm = FakeLlm([BreaksOff(), "Better."])
    text = CHAT.replace("timeout_s: 0.02", "timeout_s: 1\n    retry: {limit: 1}")

    outcome = await bench(text, llm=llm).run(user_text="Hello")

    assert outcome.finished.text == "Better."
    assert len(llm.requests) == 2


async def test_what_was_said_is_not_said_again_by_a_retry(bench: MakeBench) -> None:
    llm = FakeLlm([BreaksOff("Half a"), "Better."])
    text = CHAT.replace(
        "timeout_s: 0.02", 'timeout_s: 1\n    retry: {limit: 1}\n    fallback: {text: "Sorry."}'
    )

    outcome = await bench(text, llm=llm).run(user_text="Hello")

    assert outcome.finished.text == "Half a Sorry."
    assert len(llm.requests) == 1


async def test_a_nodes_failure_keeps_its_cause(bench: MakeBench) -> None:
    gone = AdapterError("llm-refused", "no such model")
    with pytest.raises(WorkflowRuntimeError) as failure:
        await bench(CHAT, llm=FakeLlm(error=gone)).run(user_text="Hello")
    assert failure.value.__cause__ is gone
    assert fallback_reply_for(failure.value) == PART_MISSING


async def test_a_failure_that_stays_is_not_tried_again(bench: MakeBench) -> None:
    llm = FakeLlm(error=AdapterError("llm-refused", "no such model"))
    text = CHAT.replace("timeout_s: 0.02", "timeout_s: 1\n    retry: {limit: 3}")

    with pytest.raises(WorkflowRuntimeError, match="Node 'answer': no such model") as caught:
        await bench(text, llm=llm).run(user_text="Hello")

    assert caught.value.code == "llm-refused"
    assert len(llm.requests) == 1


async def test_a_fallback_answers_for_a_failed_node(bench: MakeBench) -> None:
    llm = FakeLlm(error=AdapterError("llm-refused", "no such model"))
    text = CHAT.replace("timeout_s: 0.02", 'timeout_s: 1\n    fallback: {text: "I cannot think now."}')

    outcome = await bench(text, llm=llm).run(user_text="Hello")

    assert outcome.finished.text == "I cannot think now."


async def test_a_fault_of_ours_is_not_hidden(bench: MakeBench) -> None:
    def broken(_request: object) -> str:
        raise ZeroDivisionError

    text = CHAT.replace("timeout_s: 0.02", 'timeout_s: 1\n    fallback: {text: "I cannot think now."}')

    with pytest.raises(ZeroDivisionError):
        await bench(text, llm=FakeLlm(broken)).run(user_text="Hello")


async def test_a_missing_input_names_what_is_needed(bench: MakeBench) -> None:
    with pytest.raises(WorkflowRuntimeError, match="needs the inputs: user_text"):
        await bench(CHAT).run(text="Hello")


async def test_an_input_of_another_type_is_refused(bench: MakeBench) -> None:
    with pytest.raises(WorkflowRuntimeError, match="Input 'user_text': a value of type int is no text"):
        await bench(CHAT).run(user_text=3)


BRANCHES = """
inputs: {user_text: text}
nodes:
  - id: greeting
    type: regex_match
    config: {pattern: "^hello"}
    inputs: {text: input.user_text}
  - id: hello
    type: template
    config: {text: "Hello yourself."}
    when: greeting.found == true
  - id: echo
    type: template
    config: {text: "You said {said}."}
    inputs: {said: input.user_text}
    when: greeting.found == false
  - id: louder
    type: template
    config: {text: "{what}!"}
    inputs: {what: echo.text}
outputs: {text: [hello.text, louder.text], echoed: echo.text}
"""


@pytest.mark.parametrize(
    ("said", "text", "outputs"),
    [
        ("Hello there", "Hello yourself.", {"text"}),
        ("Nothing", "You said Nothing.!", {"text", "echoed"}),
    ],
)
async def test_one_branch_runs_and_the_other_is_skipped(
    bench: MakeBench, said: str, text: str, outputs: set[str]
) -> None:
    outcome = await bench(BRANCHES).run(user_text=said)

    assert outcome.finished.text == text
    assert set(outcome.finished.outputs) == outputs


async def test_a_branch_node_sends_a_value_one_way(bench: MakeBench) -> None:
    text = """
    inputs: {user_text: text}
    nodes:
      - {id: fork, type: branch, config: {equals: "yes"}, inputs: {on: input.user_text}}
      - {id: agreed, type: template, config: {text: "Agreed: {it}."}, inputs: {it: fork.then}}
      - {id: refused, type: template, config: {text: "Refused: {it}."}, inputs: {it: fork.otherwise}}
    outputs: {text: [agreed.text, refused.text]}
    """
    assert (await bench(text).run(user_text="yes")).finished.text == "Agreed: yes."
    assert (await bench(text).run(user_text="no")).finished.text == "Refused: no."


async def test_no_answer_at_all_is_an_error(bench: MakeBench) -> None:
    text = BRANCHES.replace("[hello.text, louder.text]", "hello.text, loud: louder.text")

    with pytest.raises(WorkflowRuntimeError, match="gave no answer"):
        await bench(text).run(user_text="Nothing")


LOOP = """
inputs: {user_text: text}
nodes:
  - id: again
    type: loop
    inputs: {said: input.user_text}
    loop:
      limit: 3
      until: call.ok == true
      carry:
        note: {first: "", from: call.note}
      nodes:
        - id: plan
          type: tool_arguments
          inputs: {text: loop.said, tool: loop.said, notes: loop.note}
        - id: order
          type: prompt
          config: {system: tool_system, user: tool_user}
          inputs: {tools: plan.tools, notes: loop.note, request: loop.said}
          when: plan.needs_model == true
        - id: fill
          type: llm
          inputs: {messages: order.messages, schema: plan.schema}
          timeout_s: 1
        - id: call
          type: tool_call
          inputs: {call: [plan.call, fill.value]}
          timeout_s: 1
      outputs: {content: call.content}
  - id: tell
    type: template
    config: {text: "{content} ({rounds}, {done})"}
    inputs: {content: again.content, rounds: again.rounds, done: again.is_done}
outputs: {text: tell.text}
"""
DICE = ToolSpec(
    name="dice",
    description="Roll a die.",
    parameters={"type": "object", "properties": {"sides": {"type": "integer"}}, "required": ["sides"]},
)
CALL = '{"name": "dice", "arguments": {"sides": 6}}'


async def test_a_loop_ends_when_its_comparison_holds(bench: MakeBench) -> None:
    results = (ToolResult(False, "too few sides"), ToolResult(True, "a four"))
    toolbox = FakeToolBox(FakeTool(DICE, results, extract=lambda _text: {"sides": 0}))
    llm = FakeLlm([CALL])

    outcome = await bench(LOOP, llm=llm, toolbox=toolbox).run(user_text="dice")

    assert outcome.finished.text == "a four (2, yes)"
    assert [arguments for _, arguments, _ in toolbox.calls] == [{"sides": 0}, {"sides": 6}]
    assert "dice failed: too few sides" in llm.requests[0].messages[-1].content


async def test_a_loop_never_exceeds_its_limit(bench: MakeBench) -> None:
    toolbox = FakeToolBox(FakeTool(DICE, ToolResult(False, "broken")))

    outcome = await bench(LOOP, llm=FakeLlm([CALL]), toolbox=toolbox).run(user_text="dice")

    assert len(toolbox.calls) == 3
    assert outcome.finished.text == "broken (3, no)"
    assert [call["ok"] for call in outcome.finished.tool_calls] == [False, False, False]


async def test_branches_run_side_by_side(bench: MakeBench) -> None:
    text = """
    inputs: {user_text: text}
    nodes:
      - {id: one, type: tool_arguments, inputs: {text: input.user_text, tool: input.user_text}}
      - {id: left, type: tool_call, inputs: {call: one.call}, timeout_s: 1}
      - {id: right, type: tool_call, inputs: {call: one.call}, timeout_s: 1}
      - {id: both, type: template, config: {text: "{a}{b}"}, inputs: {a: left.content, b: right.content}}
    outputs: {text: both.text}
    """
    together = asyncio.Barrier(2)

    class Meeting(FakeToolBox):
        async def call(self, name: str, arguments: object, *, session_id: str) -> ToolResult:
            await together.wait()
            return ToolResult(True, "x")

    tool = FakeTool(DICE, ToolResult(True, ""), extract=lambda _text: {"sides": 6})

    outcome = await bench(text, toolbox=Meeting(tool)).run(user_text="dice")

    assert outcome.finished.text == "xx"


SAVE = """
inputs: {user_text: text}
nodes:
  - id: notice
    type: extract_facts
    config: {facts: fact_examples, negatives: passing_examples}
    inputs: {text: input.user_text}
    timeout_s: 1
  - {id: save, type: memory_save, inputs: {facts: notice.facts}, timeout_s: 0.01}
  - {id: noted, type: template, config: {text: "Noted. {facts}"}, inputs: {facts: notice.said_back}}
outputs: {text: noted.text}
"""


async def test_a_speculative_run_changes_nothing(bench: MakeBench) -> None:
    memory = FakeMemory()
    under_test = bench(SAVE, memory=memory, confirmed=False)
    events = under_test.runner.run(
        {"user_text": "Remember that my dog is called Biscuit."}, under_test.context
    )

    piece = await anext(events)
    await asyncio.sleep(0.02)  # longer than the node's own time: waiting for the turn does not count
    facts = await memory.list_facts()
    await events.aclose()

    assert piece == TextPiece("Noted. Your dog is called Biscuit.")
    assert facts == []
    assert await memory.list_facts() == []


async def test_a_confirmed_run_saves_what_it_held_back(bench: MakeBench) -> None:
    memory = FakeMemory()
    under_test = bench(SAVE, memory=memory, confirmed=False)
    running = asyncio.create_task(under_test.run(user_text="Remember that my dog is called Biscuit."))
    await asyncio.sleep(0.01)

    under_test.context.confirmed.set()
    outcome = await running

    assert [fact.text for fact in await memory.list_facts()] == ["My dog is called Biscuit."]
    assert outcome.raised == ["memory_saved"]


async def test_a_tool_that_needs_approval_waits_for_the_turn(bench: MakeBench) -> None:
    text = """
    inputs: {user_text: text}
    nodes:
      - {id: plan, type: tool_arguments, inputs: {text: input.user_text, tool: input.user_text}}
      - {id: call, type: tool_call, inputs: {call: plan.call}, timeout_s: 1}
    outputs: {text: call.speech}
    """
    toolbox = FakeToolBox(
        FakeTool(
            ToolSpec(
                name="unlock", description="Unlock.", parameters={"type": "object"}, needs_approval=True
            ),
            ToolResult(True, "", "Unlocked."),
        ),
        FakeTool(
            ToolSpec(name="look", description="Look.", parameters={"type": "object"}),
            ToolResult(True, "", "I see."),
        ),
    )
    harmless = bench(text, toolbox=toolbox, confirmed=False)
    harmful = bench(text, toolbox=toolbox, confirmed=False)

    looked = await harmless.run(user_text="look")
    waiting = asyncio.create_task(harmful.run(user_text="unlock"))
    await asyncio.sleep(0.005)
    called_before = [name for name, _, _ in toolbox.calls]
    harmful.context.confirmed.set()
    unlocked = await waiting

    assert looked.finished.text == "I see."
    assert called_before == ["look"]
    assert unlocked.finished.text == "Unlocked."
    assert unlocked.raised == ["tool_started", "tool_finished"]


async def test_one_runner_serves_many_turns_at_once(bench: MakeBench) -> None:
    under_test = bench(CHAT, llm=FakeLlm(lambda request: request.messages[-1].content))

    outcomes = await asyncio.gather(*(under_test.run(user_text=f"Say {number}") for number in range(8)))

    assert [outcome.finished.text for outcome in outcomes] == [f"Say {number}" for number in range(8)]


async def test_the_conversation_is_read_ahead_as_the_next_prompt_begins(bench: MakeBench) -> None:
    llm = FakeLlm(["Yes."])
    under_test = bench(
        CHAT.replace("{user_text: text}", "{user_text: text, history: messages}").replace(
            "inputs: {user_text: input.user_text}\n",
            "inputs: {user_text: input.user_text, history: input.history}\n",
        ),
        llm=llm,
    )
    history = [Message("user", "Hi."), Message("assistant", "Hello.")]

    await under_test.runner.prefill(history, "What is", "s")
    _ = [event async for event in under_test.runner.run(
        {"user_text": "What is it?", "history": history}, RunContext("s", "t"))]  # fmt: skip

    read, asked = llm.prefills[0].messages, llm.requests[0].messages
    assert read[:-1] == asked[:-1]
    assert asked[-1].content.startswith(read[-1].content)
    assert (llm.prefills[0].session, llm.requests[0].session) == ("s", "s"), "who reads it answers it"


class RelayLlm(FakeLlm):
    """A model whose second word is another's."""

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatDelta]:
        yield ChatDelta(text="One ", source="first")
        yield ChatDelta(text="two ", source="second", fallback_reason="first is gone")
        yield ChatDelta(text="three.", finish="stop", source="second", fallback_reason="first is gone")


async def test_who_answers_is_told_before_the_words_of_each(bench: MakeBench) -> None:
    outcome = await bench(CHAT, llm=RelayLlm()).run(user_text="Count.")

    told = [
        event.event.to_wire() if isinstance(event, EventRaised) else event.text
        for event in outcome.events
        if isinstance(event, EventRaised | TextPiece)
    ]
    first = {"kind": "answered_by", "turn_id": "turn-1", "by": "first", "because": ""}
    second = {"kind": "answered_by", "turn_id": "turn-1", "by": "second", "because": "first is gone"}
    assert [item for item in told if isinstance(item, dict)] == [first, second]
    assert told.index(first) < told.index("One ")
    assert told.index(second) < told.index("two ")
