"""A WebRTC client: speaks a recording to a running agent and listens.

It owns the WebRTC client and what it measures; who calls, and what is printed, is the command line's.
"""

from __future__ import annotations

import asyncio
import contextlib
import fractions
import json
import time
import wave
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt

from pipecatapp.errors import AdapterError, ConfigError

Samples = npt.NDArray[np.int16]

WIRE_RATE_HZ = 48_000
"""Opus' sample rate (hertz)."""
FRAME = WIRE_RATE_HZ // 50
"""Samples of one packet, 20 ms."""
AUDIBLE = 500
"""A sample above this (of 32768) is sound."""
PING_S = 1.0
"""The agent wants a sign of life this often (seconds)."""


@dataclass(slots=True)
class CallRecording:
    """What came back of one recording.

    Args:
        first_sound_s: From the end of the recording to the first sound (seconds), or None.
        samples: Mono sound at `WIRE_RATE_HZ`.
        events: The session's events meanwhile.
    """

    first_sound_s: float | None = None
    samples: list[Samples] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)


def read_wav(path: Path) -> Samples:
    """Return a WAV file's sound, mono at `WIRE_RATE_HZ`.

    Raises:
        ConfigError: It is not a 16-bit WAV file.
    """
    import av

    try:
        with wave.open(str(path)) as file:
            if file.getsampwidth() != 2:
                raise ConfigError("bad-recording", f"{path} is not a 16-bit WAV file.")
            samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
            rate, channels = file.getframerate(), file.getnchannels()
    except (OSError, wave.Error, EOFError) as exc:
        raise ConfigError("bad-recording", f"{path} is not a WAV file: {exc}.") from exc
    frame = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(samples.reshape(-1, channels)[:, 0])[None], layout="mono"
    )
    frame.sample_rate = rate
    resampler = av.AudioResampler("s16", "mono", WIRE_RATE_HZ)
    pieces = [piece.to_ndarray()[0] for piece in [*resampler.resample(frame), *resampler.resample(None)]]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.int16)


class WebRtcClient:
    """One call to the agent at `url`.

    Args:
        url: Where the agent is.
        session_id: Conversation to go on with; "" for a new one.
    """

    def __init__(self, url: str, session_id: str = "") -> None:
        self._url = url
        self.session_id = session_id
        self._queue: Samples = np.zeros(0, np.int16)
        self._spoken_at_s = 0.0
        self._last_sound_s = 0.0
        self._is_spoken = asyncio.Event()
        self._is_answered = asyncio.Event()
        self._heard = CallRecording()
        self._tasks: list[asyncio.Task[None]] = []
        self._connection: Any = None

    async def connect(self, *, timeout_s: float = 15.0) -> None:
        """Open the call.

        Raises:
            AdapterError: The agent is absent, refuses, or no sound can pass.
        """
        from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

        connection = self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        channel = connection.createDataChannel("chat")
        connection.addTrack(_microphone(self._next_packet))
        is_open = asyncio.Event()
        channel.on("open", is_open.set)
        connection.on("track", lambda track: self._spawn(self._listen(track)))
        await connection.setLocalDescription(await connection.createOffer())
        body = {
            "sdp": connection.localDescription.sdp,
            "type": "offer",
            "request_data": {"session_id": self.session_id},
        }
        answer = await self._post("/api/offer", body)
        self.session_id = answer.get("session_id", "")
        await connection.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))
        try:
            async with asyncio.timeout(timeout_s):
                await is_open.wait()
        except TimeoutError as exc:
            await self.close()
            raise AdapterError(
                "no-media", f"No sound can pass to {self._url}: the call did not open."
            ) from exc
        self._spawn(self._ping(channel))
        self._spawn(self._follow())

    async def say(self, samples: Samples, *, quiet_s: float, answer_s: float) -> CallRecording:
        """Speak `samples`, then listen until the answer has been silent for `quiet_s` seconds.

        Args:
            samples: Mono sound at `WIRE_RATE_HZ`.
            quiet_s: Silence that ends an answer.
            answer_s: Longest wait for its beginning.
        """
        self._heard = CallRecording()
        self._spoken_at_s = 0.0
        self._is_spoken.clear()
        self._is_answered.clear()
        self._queue = samples
        await self._is_spoken.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(answer_s):
                await self._is_answered.wait()
            # Each sound moves the end of the answer on.
            while (left_s := self._last_sound_s + quiet_s - time.monotonic()) > 0:  # noqa: ASYNC110
                await asyncio.sleep(left_s)
        return self._heard

    async def close(self) -> None:
        """Hang up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._connection is not None:
            await self._connection.close()

    def _next_packet(self) -> Samples:
        packet = np.zeros(FRAME, np.int16)
        head, self._queue = self._queue[:FRAME], self._queue[FRAME:]
        packet[: len(head)] = head
        if len(head) and not len(self._queue):
            self._spoken_at_s = time.monotonic() + len(head) / WIRE_RATE_HZ
            self._is_spoken.set()
        return packet

    async def _listen(self, track: Any) -> None:
        from aiortc.mediastreams import MediaStreamError

        try:
            while True:
                frame = await track.recv()
                samples: Samples = frame.to_ndarray().reshape(-1)
                samples = samples[::2] if frame.layout.name == "stereo" else samples
                self._take(samples, time.monotonic())
        except MediaStreamError:
            return

    def _take(self, samples: Samples, now_s: float) -> None:
        loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > AUDIBLE)
        self._heard.samples.append(samples)
        if len(loud):
            self._last_sound_s = now_s
            if self._spoken_at_s and now_s > self._spoken_at_s and self._heard.first_sound_s is None:
                self._heard.first_sound_s = now_s + loud[0] / WIRE_RATE_HZ - self._spoken_at_s
                self._is_answered.set()

    async def _ping(self, channel: Any) -> None:
        while channel.readyState == "open":
            channel.send("ping")
            await asyncio.sleep(PING_S)

    async def _follow(self) -> None:
        from websockets.asyncio.client import connect

        url = f"{self._url.replace('http', 'ws', 1)}/ws?session_id={self.session_id}"
        async with connect(url) as socket:
            async for message in socket:
                self._heard.events.append(json.loads(message))

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            async with httpx.AsyncClient(base_url=self._url, timeout=30, trust_env=False) as client:
                response = await client.post(path, json=body)
        except httpx.HTTPError as exc:
            raise AdapterError("agent-unreachable", f"No agent answers at {self._url} ({exc}).") from exc
        data: dict[str, Any] = response.json()
        if not response.is_success:
            error = data.get("error", {})
            raise AdapterError(
                error.get("code", "refused"), error.get("message", response.text), hint=error.get("hint", "")
            )
        return data

    def _spawn(self, work: Any) -> None:
        self._tasks.append(asyncio.create_task(work))


def _microphone(next_packet: Callable[[], Samples]) -> Any:
    """Return an aiortc track that plays what `next_packet` gives, in real time."""
    import av
    from aiortc.mediastreams import MediaStreamTrack

    class Microphone(MediaStreamTrack):
        kind = "audio"

        def __init__(self) -> None:
            super().__init__()
            self._began_s = 0.0
            self._sent = 0

        async def recv(self) -> Any:
            self._began_s = self._began_s or time.monotonic()
            wait_s = self._began_s + self._sent / WIRE_RATE_HZ - time.monotonic()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            frame = av.AudioFrame.from_ndarray(next_packet()[None], layout="mono")
            frame.sample_rate = WIRE_RATE_HZ
            frame.pts = self._sent
            frame.time_base = fractions.Fraction(1, WIRE_RATE_HZ)
            self._sent += FRAME
            return frame

    return Microphone()
