"""Admission, renegotiation and the end of calls.

It owns the limit of calls and the map from connection to call; a call itself is `call`'s.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from typing import Any

from aiortc.sdp import candidate_from_sdp
from pipecat.transports.smallwebrtc.connection import SmallWebRTCConnection

from pipecatapp.agent.service import TwinService
from pipecatapp.errors import VoiceError
from pipecatapp.ports import CallAnswer, CallOffer, Clock, IceCandidate
from pipecatapp.settings import Settings
from pipecatapp.voice.call import Call, CallLimits, VoiceEngines, hang_up
from pipecatapp.voice.call_context import CallContext
from pipecatapp.voice.ice import prepare_webrtc

log = logging.getLogger(__name__)

END_TIMEOUT_S = 5.0
"""Longest wait for calls to end when the process stops (seconds)."""
OFFER_TIMEOUT_S = 10.0
"""Longest time that aiortc may take over an offer (seconds); a name ending in .local takes it one."""


class WebRtcCallManager:
    """The CallManager port over SmallWebRTC.

    Args:
        service: The sessions.
        engines: The shared engines.
        settings: Voice settings.
        clock: Time.
        limits: How long a call waits for its client and for its end.
    """

    def __init__(
        self,
        service: TwinService,
        engines: VoiceEngines,
        settings: Settings,
        clock: Clock,
        limits: CallLimits = CallLimits(),  # noqa: B008 - it cannot be changed
    ) -> None:
        prepare_webrtc()
        self._service = service
        self._engines = engines
        self._settings = settings
        self._clock = clock
        self._limits = limits
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
            with _offer_errors():
                async with asyncio.timeout(OFFER_TIMEOUT_S):
                    await call.connection.renegotiate(
                        sdp=offer.sdp, type=offer.type, restart_pc=offer.restart_pc
                    )
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
            "sessions": sorted(call.context.session.id for call in self._calls.values()),
        }

    async def say(self, session_id: str, text: str) -> bool:
        """Hand typed `text` to the session's call; False when it has none."""
        for call in self._calls.values():
            if call.context.session.id == session_id:
                await call.say(text)
                return True
        return False

    async def close(self) -> None:
        """End every call; clients are told by the closing connection."""
        for call in list(self._calls.values()):
            call.end("shutdown")
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=END_TIMEOUT_S)

    async def _open(self, offer: CallOffer) -> CallAnswer:
        session = await self._service.resume(offer.session_id)
        async with AsyncExitStack() as undo:
            connection = SmallWebRTCConnection(ice_servers=None)
            undo.push_async_callback(hang_up, connection, self._limits.teardown_s)
            with _offer_errors():
                async with asyncio.timeout(OFFER_TIMEOUT_S):
                    await connection.initialize(sdp=offer.sdp, type=offer.type)
                if not any(item.kind == "audio" for item in connection.pc.getTransceivers()):
                    raise ValueError("no audio track")
            for other in list(self._calls.values()):
                if other.context.session.id == session.id:
                    other.end("replaced")
            context = CallContext(
                session=session, clock=self._clock, logs_latency=self._settings.benchmark_mode
            )
            call = Call(
                connection,
                context,
                self._engines,
                self._settings,
                is_alone=lambda: len(self._calls) <= 1,
                limits=self._limits,
            )
            answer = _answer(call)
            undo.pop_all()
        self._calls[call.pc_id] = call
        task = asyncio.create_task(self._keep(call), name=f"call-{call.pc_id}")
        self._tasks[call.pc_id] = task
        return answer

    async def _keep(self, call: Call) -> None:
        call.context.session.attach()
        try:
            await call.talk()
        finally:
            # Its place first: what follows waits for others.
            self._calls.pop(call.pc_id, None)
            call.context.session.detach()
            try:
                await call.leave()
            finally:
                self._tasks.pop(call.pc_id, None)


@contextmanager
def _offer_errors() -> Iterator[None]:
    """Make of what aiortc raises over an offer an error for its caller.

    Raises:
        VoiceError: Malformed SDP (422), or it took too long (503).
    """
    try:
        yield
    except TimeoutError as exc:
        raise VoiceError(
            "offer-timeout",
            f"The call could not be prepared within {OFFER_TIMEOUT_S:g} s.",
            hint="Try again; when it stays so, `twin doctor` on the agent's machine.",
            retryable=True,
            status=503,
        ) from exc
    except (ValueError, KeyError, IndexError, AssertionError, AttributeError, TypeError) as exc:
        raise _bad_sdp() from exc


def _answer(call: Call) -> CallAnswer:
    answer = call.connection.get_answer()
    if answer is None:
        raise _bad_sdp()
    return CallAnswer(
        sdp=answer["sdp"], type=answer["type"], pc_id=answer["pc_id"], session_id=call.context.session.id
    )


def _bad_sdp() -> VoiceError:
    return VoiceError(
        "bad-sdp",
        "The offer is not a session description that I understand.",
        hint="Send the `sdp` and `type` of RTCPeerConnection.createOffer(), with an audio track.",
        status=422,
    )
