"""What the stages of a call share: here, the report of a spoken turn's latency."""

from __future__ import annotations

import pytest

from pipecatapp.agent.session import Session
from pipecatapp.voice.call_context import CallContext
from testing.fakes.fake_clock import FakeClock
from testing.fakes.fake_memory import FakeMemory
from testing.fakes.scripted_workflow import ScriptedWorkflow

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("is_measured", [True, False])
async def test_benchmark_mode_tells_the_log_each_spoken_turns_stages(
    caplog: pytest.LogCaptureFixture, is_measured: bool
) -> None:
    clock = FakeClock()
    session = Session("s", run_workflow=ScriptedWorkflow(), store=FakeMemory(), clock=clock, max_text_chars=9)
    context = CallContext(session=session, clock=clock, logs_latency=is_measured)
    with caplog.at_level("INFO"):
        context.trace.user_started()
        context.trace.speech_ended(0.2)
        context.trace.mark("llm_first_token")
        clock.advance(0.5)
        context.trace.bot_started()
    stages_s = {"vad_stop": 0.2, "llm_first_token": 0.2, "bot_started": 0.7}
    told = [record for record in caplog.records if record.getMessage() == "Turn latency"]
    assert [vars(record)["stages_s"] for record in told] == [stages_s] * is_measured
    event = session.bus.read(session.bus.last_seq)
    assert event is not None and event["stages_s"] == stages_s
    await session.close()
