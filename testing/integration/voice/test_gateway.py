"""Calls over real WebRTC on this machine, with fake engines behind the ports.

It owns admission, the order of a spoken turn's events, interruption and the end of calls; hearing and
speaking with real engines is tested end to end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from pipecatapp.adapters.state_folder import StateFolder
from pipecatapp.adapters.voice_client import WIRE_RATE_HZ, _microphone
from pipecatapp.agent.service import TwinService
from pipecatapp.app.clock import SystemClock
from pipecatapp.errors import VoiceError
from pipecatapp.ports import CallOffer, IceCandidate
from pipecatapp.settings import Settings
from pipecatapp.voice.call import VoiceEngines
from pipecatapp.voice.gateway import WebRtcGateway
from testing.fakes.fake_memory import FakeMemory
from testing.fakes.fake_stt import FakeStt
from testing.fakes.fake_tts import FakeTts
from testing.fakes.scripted_workflow import ScriptedWorkflow

pytestmark = pytest.mark.integration


class Agent:
    """A gateway with its service, and calls into it."""

    def __init__(self, folder: Path, greeting: str) -> None:
        self.settings = Settings(TWIN_DATA_DIR=folder, TWIN_MAX_CALLS=2, TWIN_GREETING=greeting)  # type: ignore[call-arg]
        self.workflow = ScriptedWorkflow(["One short answer."])
        self.tts = FakeTts()
        states = StateFolder(self.settings.data_dir / "states")
        self.service = TwinService(self.workflow, FakeMemory(), SystemClock(), self.settings, states)
        self.gateway = WebRtcGateway(
            self.service, VoiceEngines(FakeStt(), self.tts), self.settings, SystemClock()
        )
        self._peers: list[RTCPeerConnection] = []

    async def call(self, session_id: str = "") -> tuple[Any, RTCPeerConnection]:
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._peers.append(peer)
        channel = peer.createDataChannel("chat")
        silence = np.zeros(WIRE_RATE_HZ // 50, np.int16)
        peer.addTrack(_microphone(lambda: silence))
        is_open = asyncio.Event()
        channel.on("open", is_open.set)
        await peer.setLocalDescription(await peer.createOffer())
        answer = await self.gateway.offer(
            CallOffer(peer.localDescription.sdp, "offer", session_id=session_id)
        )
        await peer.setRemoteDescription(RTCSessionDescription(answer.sdp, answer.type))
        async with asyncio.timeout(10):
            await is_open.wait()
        channel.send("ping")
        return answer, peer

    async def close(self) -> None:
        await self.gateway.close()
        await self.service.close()
        for peer in self._peers:
            await peer.close()


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    made = Agent(tmp_path, greeting="")
    yield made
    await made.close()


async def until(is_true: Callable[[], bool], timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not is_true():  # noqa: ASYNC110 - the gateway has no event for it
            await asyncio.sleep(0.02)


async def events_until(agent: Agent, session_id: str, kind: str) -> list[dict[str, Any]]:
    seen = []
    async with asyncio.timeout(10), agent.service.get(session_id).bus.subscribe() as events:
        async for event in events:
            seen.append(event)
            if event["kind"] == kind:
                return seen
    raise AssertionError(f"no {kind} among {[event['kind'] for event in seen]}")


@pytest.mark.parametrize(
    "sdp", ["nonsense", "v=0\r\n", "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=audio x y z\r\n"]
)
async def test_malformed_sdp_is_refused_and_leaves_nothing(agent: Agent, sdp: str) -> None:
    with pytest.raises(VoiceError) as caught:
        await agent.gateway.offer(CallOffer(sdp, "offer"))
    assert (caught.value.code, caught.value.status) == ("bad-sdp", 422)
    assert agent.gateway.status()["active"] == 0


async def test_candidates_for_an_unknown_call_are_refused(agent: Agent) -> None:
    with pytest.raises(VoiceError) as caught:
        await agent.gateway.add_candidates("nobody", [IceCandidate("", "0", 0)])
    assert caught.value.status == 404


async def test_the_call_past_the_limit_is_told_busy(agent: Agent) -> None:
    await agent.call()
    await agent.call()
    with pytest.raises(VoiceError) as caught:
        await agent.call()
    assert (caught.value.code, caught.value.status) == ("busy", 503)
    assert agent.gateway.status()["active"] == 2


async def test_typed_text_in_a_call_is_spoken(agent: Agent) -> None:
    answer, _ = await agent.call()
    await events_until(agent, answer.session_id, "call_connected")
    assert await agent.gateway.say(answer.session_id, "hello")
    events = await events_until(agent, answer.session_id, "turn_finished")
    kinds = [event["kind"] for event in events]
    assert kinds.index("turn_started") < kinds.index("bot_started_speaking") < kinds.index("turn_finished")
    assert events[-1]["text"] == "One short answer."
    assert any(event["kind"] == "assistant_spoken" for event in events)


async def test_text_for_a_session_without_a_call_is_not_taken(agent: Agent) -> None:
    session = await agent.service.open()
    assert not await agent.gateway.say(session.id, "hello")


async def test_typed_text_interrupts_what_is_being_said(agent: Agent) -> None:
    agent.workflow._scripts = (["A very long answer. " * 20], ["Short."])
    answer, _ = await agent.call()
    await events_until(agent, answer.session_id, "call_connected")
    await agent.gateway.say(answer.session_id, "tell me a story")
    await events_until(agent, answer.session_id, "bot_started_speaking")
    await agent.gateway.say(answer.session_id, "stop")
    first = (await events_until(agent, answer.session_id, "turn_finished"))[-1]
    assert first["interrupted"]
    assert len(first["text"]) < len("A very long answer. " * 20) / 2
    await until(lambda: len(agent.service.get(answer.session_id).turns) == 2)
    turns = agent.service.get(answer.session_id).turns
    assert turns[0].assistant_text == first["text"]
    assert turns[1].assistant_text == "Short."


async def said(agent: Agent, *deltas: str) -> dict[str, Any]:
    """Have an answer spoken; return how its turn ended."""
    agent.workflow._scripts = (list(deltas),)
    answer, _ = await agent.call()
    await events_until(agent, answer.session_id, "call_connected")
    await agent.gateway.say(answer.session_id, "hello")
    return (await events_until(agent, answer.session_id, "turn_finished"))[-1]


async def test_the_voice_gets_words_and_the_conversation_what_was_written(agent: Agent) -> None:
    written = "# Costs\n\nPay $37.60 at 9:00 to [Ann](https://example.com).\n\n```sh\nmake all\n```\n\n"
    written += "- Rope\n- Salt"
    finished = await said(agent, *(written[at : at + 2] for at in range(0, len(written), 2)))
    assert agent.tts.texts == [
        "Costs.",
        "Pay thirty-seven dollars sixty at nine o'clock to Ann.",
        "Rope.",
        "Salt.",
    ]
    assert finished["text"] == " ".join(written.split())


async def test_an_answer_without_words_ends_its_turn_in_silence(agent: Agent) -> None:
    finished = await said(agent, "\U0001f389\U0001f389")
    assert agent.tts.texts == []
    assert (finished["text"], finished["interrupted"]) == ("\U0001f389\U0001f389", False)


async def test_the_greeting_is_spoken_and_is_no_turn(tmp_path: Path) -> None:
    agent = Agent(tmp_path, greeting="Hello, I am Twin.")
    try:
        answer, _ = await agent.call()
        events = await events_until(agent, answer.session_id, "turn_finished")
        assert events[-1]["text"] == "Hello, I am Twin."
        assert agent.service.get(answer.session_id).turns == ()
    finally:
        await agent.close()


async def test_hanging_up_ends_the_call_and_keeps_the_session(agent: Agent) -> None:
    answer, peer = await agent.call()
    await peer.close()
    await until(lambda: agent.gateway.status()["active"] == 0)
    events = await events_until(agent, answer.session_id, "call_ended")
    assert events[-1]["reason"] == "hung-up"


async def test_a_new_call_of_the_same_session_replaces_the_old_one(agent: Agent) -> None:
    answer, _ = await agent.call()
    again, _ = await agent.call(answer.session_id)
    assert again.session_id == answer.session_id
    await until(lambda: agent.gateway.status()["active"] == 1)
