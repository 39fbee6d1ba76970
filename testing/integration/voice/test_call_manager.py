"""Calls over real WebRTC on this machine, with fake engines behind the ports.

It owns admission, the order of a spoken turn's events, interruption and the end of calls; hearing and
speaking with real engines is tested end to end.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from pipecat.transports.smallwebrtc.connection import SmallWebRTCConnection

from pipecatapp.adapters.audio.webrtc_client import WIRE_RATE_HZ, _microphone
from pipecatapp.adapters.memory.state_folder import StateFolder
from pipecatapp.agent.service import TwinService
from pipecatapp.app.clock import SystemClock
from pipecatapp.errors import VoiceError
from pipecatapp.ports import CallAnswer, CallOffer, IceCandidate
from pipecatapp.settings import Settings
from pipecatapp.voice import call_manager as call_manager_module
from pipecatapp.voice.call import CallLimits, VoiceEngines
from pipecatapp.voice.call_manager import WebRtcCallManager
from testing.fakes.fake_memory import FakeMemory
from testing.fakes.fake_stt import FakeStt
from testing.fakes.fake_tts import FakeTts
from testing.fakes.scripted_workflow import ScriptedWorkflow

pytestmark = pytest.mark.integration

PATIENT = CallLimits(connect_s=30.0)
"""For callers who do come, on a machine that may be busy."""
HASTY = CallLimits(connect_s=1.0, teardown_s=1.0)


class Agent:
    """A call manager with its service, and calls into it."""

    def __init__(
        self, folder: Path, greeting: str = "", max_calls: int = 2, limits: CallLimits = PATIENT
    ) -> None:
        self.settings = Settings(TWIN_DATA_DIR=folder, TWIN_MAX_CALLS=max_calls, TWIN_GREETING=greeting)  # type: ignore[call-arg]
        self.workflow = ScriptedWorkflow(["One short answer."])
        self.tts = FakeTts()
        states = StateFolder(self.settings.data_dir / "states")
        self.service = TwinService(self.workflow, FakeMemory(), SystemClock(), self.settings, states)
        self.manager = WebRtcCallManager(
            self.service, VoiceEngines(FakeStt(), self.tts), self.settings, SystemClock(), limits
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
        answer = await self.manager.offer(
            CallOffer(sdp=peer.localDescription.sdp, type="offer", session_id=session_id)
        )
        await peer.setRemoteDescription(RTCSessionDescription(answer.sdp, answer.type))
        async with asyncio.timeout(10):
            await is_open.wait()
        channel.send("ping")
        return answer, peer

    async def offer_and_stay_away(self) -> CallAnswer:
        """Offer a call and never connect: nobody answers at the addresses in the offer any more."""
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        peer.createDataChannel("chat")
        peer.addTrack(_microphone(lambda: np.zeros(WIRE_RATE_HZ // 50, np.int16)))
        await peer.setLocalDescription(await peer.createOffer())
        sdp = peer.localDescription.sdp
        await peer.close()
        return await self.manager.offer(CallOffer(sdp=sdp, type="offer"))

    def is_on_calls(self) -> bool:
        return self.manager.status()["active"] > 0

    async def close(self) -> None:
        await self.manager.close()
        await self.service.close()
        for peer in self._peers:
            await peer.close()


@contextlib.asynccontextmanager
async def running(folder: Path, **options: Any) -> AsyncIterator[Agent]:
    made = Agent(folder, **options)
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    async with running(tmp_path) as made:
        yield made


async def until(is_true: Callable[[], bool], timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not is_true():  # noqa: ASYNC110 - the manager has no event for it
            await asyncio.sleep(0.02)


def open_udp_sockets() -> int:
    """Return how many UDP sockets this process has."""
    tables = [Path(f"/proc/net/{name}").read_text().splitlines()[1:] for name in ("udp", "udp6")]
    udp = {f"socket:[{line.split()[9]}]" for table in tables for line in table}
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            count += str(descriptor.readlink()) in udp
    return count


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
        await agent.manager.offer(CallOffer(sdp=sdp, type="offer"))
    assert (caught.value.code, caught.value.status) == ("bad-sdp", 422)
    assert agent.manager.status()["active"] == 0


async def test_candidates_for_an_unknown_call_are_refused(agent: Agent) -> None:
    with pytest.raises(VoiceError) as caught:
        await agent.manager.add_candidates("nobody", [IceCandidate("", "0", 0)])
    assert caught.value.status == 404


async def test_the_call_past_the_limit_is_told_busy(agent: Agent) -> None:
    await agent.call()
    await agent.call()
    with pytest.raises(VoiceError) as caught:
        await agent.call()
    assert (caught.value.code, caught.value.status) == ("busy", 503)
    assert agent.manager.status()["active"] == 2


async def test_typed_text_in_a_call_is_spoken(agent: Agent) -> None:
    answer, _ = await agent.call()
    await events_until(agent, answer.session_id, "call_connected")
    assert await agent.manager.say(answer.session_id, "hello")
    events = await events_until(agent, answer.session_id, "turn_finished")
    kinds = [event["kind"] for event in events]
    assert kinds.index("turn_started") < kinds.index("bot_started_speaking") < kinds.index("turn_finished")
    assert events[-1]["text"] == "One short answer."
    assert any(event["kind"] == "assistant_spoken" for event in events)


async def test_text_for_a_session_without_a_call_is_not_taken(agent: Agent) -> None:
    session = await agent.service.open()
    assert not await agent.manager.say(session.id, "hello")


async def test_typed_text_interrupts_what_is_being_said(agent: Agent) -> None:
    agent.workflow._scripts = (["A very long answer. " * 20], ["Short."])
    answer, _ = await agent.call()
    await events_until(agent, answer.session_id, "call_connected")
    await agent.manager.say(answer.session_id, "tell me a story")
    await events_until(agent, answer.session_id, "bot_started_speaking")
    await agent.manager.say(answer.session_id, "stop")
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
    await agent.manager.say(answer.session_id, "hello")
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
    async with running(tmp_path, greeting="Hello, I am Twin.") as agent:
        answer, _ = await agent.call()
        events = await events_until(agent, answer.session_id, "turn_finished")
        assert events[-1]["text"] == "Hello, I am Twin."
        assert agent.service.get(answer.session_id).turns == ()


async def test_hanging_up_ends_the_call_and_keeps_the_session(agent: Agent) -> None:
    answer, peer = await agent.call()
    await peer.close()
    await until(lambda: agent.manager.status()["active"] == 0)
    events = await events_until(agent, answer.session_id, "call_ended")
    assert events[-1]["reason"] == "hung-up"


async def test_a_new_call_of_the_same_session_replaces_the_old_one(agent: Agent) -> None:
    answer, _ = await agent.call()
    again, _ = await agent.call(answer.session_id)
    assert again.session_id == answer.session_id
    await until(lambda: agent.manager.status()["active"] == 1)


async def test_a_caller_who_never_connects_leaves_nothing_behind(tmp_path: Path) -> None:
    sockets_before = open_udp_sockets()
    async with running(tmp_path, limits=HASTY) as agent:
        answer = await agent.offer_and_stay_away()
        session = agent.service.get(answer.session_id)
        assert agent.is_on_calls()
        assert open_udp_sockets() > sockets_before

        await until(lambda: not agent.is_on_calls())
        events = await events_until(agent, answer.session_id, "call_ended")

        assert events[-1]["reason"] == "unreached"
        assert not session.is_in_use
        await until(lambda: open_udp_sockets() == sockets_before)


async def test_a_caller_who_may_still_connect_has_a_place(tmp_path: Path) -> None:
    async with running(tmp_path, max_calls=8) as agent:
        for _ in range(8):
            await agent.offer_and_stay_away()
        with pytest.raises(VoiceError, match="8 calls"):
            await agent.offer_and_stay_away()


async def test_callers_who_never_connect_do_not_keep_the_next_one_out(tmp_path: Path) -> None:
    async with running(tmp_path, max_calls=8, limits=HASTY) as agent:
        for _ in range(8):
            await agent.offer_and_stay_away()

        await until(lambda: not agent.is_on_calls(), timeout_s=30)
        agent.manager._limits = PATIENT
        answer, _ = await agent.call()

        await events_until(agent, answer.session_id, "call_connected")
        assert agent.manager.status()["active"] == 1


async def test_a_place_is_free_before_the_connection_has_closed(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, peer = await agent.call()
    await events_until(agent, answer.session_id, "call_connected")
    may_close = asyncio.Event()
    close = SmallWebRTCConnection.disconnect

    async def close_late(connection: SmallWebRTCConnection) -> None:
        await may_close.wait()
        await close(connection)

    monkeypatch.setattr(SmallWebRTCConnection, "disconnect", close_late)
    await peer.close()

    await until(lambda: not agent.is_on_calls())
    assert not agent.service.get(answer.session_id).is_in_use
    may_close.set()
    await events_until(agent, answer.session_id, "call_ended")


async def test_a_connection_that_never_closes_is_left_after_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, limits=CallLimits(connect_s=30.0, teardown_s=0.2)) as agent:
        answer, peer = await agent.call()
        await events_until(agent, answer.session_id, "call_connected")
        close = SmallWebRTCConnection.disconnect
        left: list[SmallWebRTCConnection] = []

        async def close_never(connection: SmallWebRTCConnection) -> None:
            left.append(connection)
            await asyncio.Event().wait()

        monkeypatch.setattr(SmallWebRTCConnection, "disconnect", close_never)
        await peer.close()

        ended = (await events_until(agent, answer.session_id, "call_ended"))[-1]
        assert (ended["reason"], agent.manager._tasks) == ("hung-up", {})
        await close(left[0])


async def test_an_offer_that_takes_too_long_is_told_so_and_leaves_nothing(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_connection: SmallWebRTCConnection, **_options: str) -> None:
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(call_manager_module, "OFFER_TIMEOUT_S", 0.1)
        patch.setattr(SmallWebRTCConnection, "initialize", never)
        for _ in range(3):
            with pytest.raises(VoiceError) as caught:
                await agent.offer_and_stay_away()
            assert (caught.value.code, caught.value.status) == ("offer-timeout", 503)

    await agent.call()
