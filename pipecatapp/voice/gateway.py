"""Which calls there are: admission, renewal, candidates and the end of all.

It owns the limit of calls and the map from connection to call; a call itself is `call`'s.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from aiortc.sdp import candidate_from_sdp
from pipecat.transports.smallwebrtc.connection import SmallWebRTCConnection

from pipecatapp.agent.service import TwinService
from pipecatapp.errors import VoiceError
from pipecatapp.ports import CallAnswer, CallOffer, Clock, IceCandidate
from pipecatapp.settings import Settings
from pipecatapp.voice.call import Call, VoiceEngines
from pipecatapp.voice.ice import prepare_webrtc
from pipecatapp.voice.room import Room

log = logging.getLogger(__name__)

END_TIMEOUT_S = 5.0
"""Longest wait for calls to end when the process stops (seconds)."""


class WebRtcGateway:
    """The CallGateway port over SmallWebRTC.

    Args:
        service: The sessions.
        engines: The shared engines.
        settings: Voice settings.
        clock: Time.
    """

    def __init__(self, service: TwinService, engines: VoiceEngines, settings: Settings, clock: Clock) -> None:
        prepare_webrtc()
        self._service = service
        self._engines = engines
        self._settings = settings
        self._clock = clock
        self._calls: dict[str, Call] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._opening = 0

    async def offer(self, offer: CallOffer) -> CallAnswer:
        """Take or renew a call.

        Raises:
            VoiceError: Malformed SDP (422), or busy (503).
        """
        call = self._calls.get(offer.pc_id) if offer.pc_id else None
        if call is not None:
            try:
                await call.connection.renegotiate(sdp=offer.sdp, type=offer.type, restart_pc=offer.restart_pc)
            except (ValueError, KeyError, IndexError, AssertionError) as exc:
                raise _bad_sdp() from exc
            return _answer(call)
        if len(self._calls) + self._opening >= self._settings.max_calls:
            raise VoiceError(
                "busy",
                f"I am on {len(self._calls)} calls already, which is all I can do well.",
                hint="Try again in a minute, or write instead of speaking.",
                retryable=True,
                status=503,
            )
        self._opening += 1
        try:
            return await self._open(offer)
        finally:
            self._opening -= 1

    async def add_candidates(self, pc_id: str, candidates: Sequence[IceCandidate]) -> None:
        """Add addresses to a call.

        Raises:
            VoiceError: There is no such call (404), or a candidate is malformed (422).
        """
        call = self._calls.get(pc_id)
        if call is None:
            raise VoiceError(
                "unknown-call", f"There is no call {pc_id!r}.", hint="Offer a new one.", status=404
            )
        for item in candidates:
            # An empty candidate marks the end of them (RFC 8840), which aiortc knows as None.
            parsed = None
            if item.candidate:
                try:
                    parsed = candidate_from_sdp(item.candidate.removeprefix("candidate:"))
                except (ValueError, IndexError, AssertionError) as exc:
                    raise VoiceError("bad-candidate", "An ICE candidate is malformed.", status=422) from exc
                parsed.sdpMid = item.sdp_mid
                parsed.sdpMLineIndex = item.sdp_mline_index
            await call.connection.add_ice_candidate(parsed)

    def status(self) -> Mapping[str, Any]:
        """Return calls under way and the limit."""
        return {
            "active": len(self._calls),
            "limit": self._settings.max_calls,
            "sessions": sorted(call.room.session.id for call in self._calls.values()),
        }

    async def say(self, session_id: str, text: str) -> bool:
        """Hand typed `text` to the session's call; False when it has none."""
        for call in self._calls.values():
            if call.room.session.id == session_id:
                await call.say(text)
                return True
        return False

    async def close(self) -> None:
        """End every call; clients are told by the closing connection."""
        for call in list(self._calls.values()):
            await call.end("shutdown")
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=END_TIMEOUT_S)

    async def _open(self, offer: CallOffer) -> CallAnswer:
        session = await self._service.resume(offer.session_id)
        connection = SmallWebRTCConnection(ice_servers=None)
        try:
            await connection.initialize(sdp=offer.sdp, type=offer.type)
            if not any(item.kind == "audio" for item in connection.pc.getTransceivers()):
                raise ValueError("no audio track")
        except (ValueError, KeyError, IndexError, AssertionError, AttributeError, TypeError) as exc:
            await connection.disconnect()
            raise _bad_sdp() from exc
        for other in list(self._calls.values()):
            if other.room.session.id == session.id:
                await other.end("replaced")
        room = Room(session, self._clock, logs_latency=self._settings.benchmark_mode)
        call = Call(connection, room, self._engines, self._settings, is_alone=lambda: len(self._calls) <= 1)
        self._calls[call.pc_id] = call
        task = asyncio.create_task(self._keep(call), name=f"call-{call.pc_id}")
        self._tasks[call.pc_id] = task
        return _answer(call)

    async def _keep(self, call: Call) -> None:
        call.room.session.attach()
        try:
            await call.run()
        finally:
            call.room.session.detach()
            self._calls.pop(call.pc_id, None)
            self._tasks.pop(call.pc_id, None)


def _answer(call: Call) -> CallAnswer:
    answer = call.connection.get_answer()
    if answer is None:
        raise _bad_sdp()
    return CallAnswer(
        sdp=answer["sdp"], type=answer["type"], pc_id=answer["pc_id"], session_id=call.room.session.id
    )


def _bad_sdp() -> VoiceError:
    return VoiceError(
        "bad-sdp",
        "The offer is not a session description that I understand.",
        hint="Send the `sdp` and `type` of RTCPeerConnection.createOffer(), with an audio track.",
        status=422,
    )
