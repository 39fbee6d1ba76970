"""A caller made of code: a real WebRTC client that speaks recordings and keeps what comes back.

It owns one call and its event stream, on this process's clock. What a good answer is, the tests say.

Usage: python -m testing.e2e.client [--url URL] [--session ID] [--hold SECONDS] RECORDING...
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import ssl
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from testing.e2e.sound import Ear, Microphone, Samples, Utterance, load_recording

PING_S = 1.0
"""How often the client says that it is alive (seconds), as SmallWebRTC's clients do."""
CONNECT_TIMEOUT_S = 20.0
ANSWER_TIMEOUT_S = 30.0
END_OF_ANSWER_S = 0.8
"""Silence after which an answer is over (seconds)."""

Event = dict[str, Any]


@functools.cache
def offer_loopback() -> None:
    """Let ICE use 127.0.0.1, which aioice leaves out, where no other address exists."""
    from aioice import ice

    found = ice.get_host_addresses
    ice.get_host_addresses = lambda use_ipv4, use_ipv6: list(found(use_ipv4, use_ipv6)) or ["127.0.0.1"]


class Refused(Exception):
    """The agent refused, with its status and its body."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question and its answer; times are `time.perf_counter` (seconds)."""

    heard: str
    reply: str
    start_s: float
    end_s: float
    sound_s: float
    audio: Samples
    turns: tuple[Event, ...]
    latency: Event | None
    was_cut_early: bool

    @property
    def voice_to_voice_s(self) -> float:
        """From the last sample of the question to the first audible one of the answer."""
        return self.sound_s - self.end_s


class EventStream:
    """The agent's events of one session, kept as they come."""

    def __init__(self, base_url: str, session_id: str, verify: ssl.SSLContext | None) -> None:
        parts = urlsplit(base_url)
        scheme = "wss" if parts.scheme == "https" else "ws"
        self._url = f"{scheme}://{parts.netloc}/ws?session_id={quote(session_id)}"
        self._ssl = verify if scheme == "wss" else None
        self._socket: ClientConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self.session_id = session_id
        self.events: list[Event] = []

    async def open(self) -> None:
        """Connect and wait for the first event, which names the session."""
        self._socket = await connect(self._url, ssl=self._ssl, max_size=2**22)
        self._task = asyncio.create_task(self._read(self._socket), name="test-events")
        await self.next(lambda event: True, timeout_s=CONNECT_TIMEOUT_S)
        self.session_id = self.events[0].get("session_id", "")

    async def _read(self, socket: ClientConnection) -> None:
        try:
            async for message in socket:
                self.events.append({**json.loads(message), "at_s": time.perf_counter()})
                self._news.set()
        except ConnectionClosed:
            return

    async def send(self, message: Event) -> None:
        """Send a message of the WebSocket's protocol."""
        assert self._socket is not None
        await self._socket.send(json.dumps(message))

    async def next(
        self, wanted: Callable[[Event], bool], *, after: int = 0, timeout_s: float = ANSWER_TIMEOUT_S
    ) -> Event:
        """Return the first event from position `after` of `events` on that is `wanted`.

        Raises:
            TimeoutError: It did not come within `timeout_s` seconds.
        """
        async with asyncio.timeout(timeout_s):
            while True:
                self._news.clear()
                for event in self.events[after:]:
                    if wanted(event):
                        return event
                await self._news.wait()

    async def kind(self, kind: str, *, after: int = 0, timeout_s: float = ANSWER_TIMEOUT_S) -> Event:
        """Return the first event of that kind from position `after` on."""
        return await self.next(lambda event: event.get("kind") == kind, after=after, timeout_s=timeout_s)

    async def close(self) -> None:
        """Close the stream."""
        if self._socket is not None:
            await self._socket.close()
        if self._task is not None:
            await self._task


class Client:
    """One caller.

    Args:
        base_url: Where the agent is, as `http://127.0.0.1:8000`.
        session_id: The conversation to go on with; "" begins one.
        verify: How to check the agent's certificate, for https.
    """

    def __init__(self, base_url: str, session_id: str = "", verify: ssl.SSLContext | None = None) -> None:
        offer_loopback()
        self.base_url = base_url.rstrip("/")
        self.stream = EventStream(self.base_url, session_id, verify)
        self.http = httpx.AsyncClient(
            base_url=self.base_url, timeout=60, verify=verify or True, trust_env=False
        )
        self.microphone = Microphone()
        self.ear = Ear()
        self.pc_id = ""
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def session_id(self) -> str:
        """The conversation."""
        return self.stream.session_id

    @property
    def events(self) -> list[Event]:
        """Every event so far, oldest first."""
        return self.stream.events

    async def connect(self) -> Self:
        """Follow the events, call, and wait until sound flows.

        Raises:
            Refused: The agent took no call.
        """
        await self.stream.open()
        channel = self._peer.createDataChannel("chat")
        is_open = asyncio.Event()
        channel.on("open", is_open.set)
        self._peer.addTrack(self.microphone)
        self._peer.on("track", self._hear)
        await self._peer.setLocalDescription(await self._peer.createOffer())
        answer = await self._offer(self._peer.localDescription.sdp)
        self.pc_id = answer["pc_id"]
        await self._peer.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await is_open.wait()
        about = {"version": "2.2.0", "about": {"library": "twin-test"}}
        ready = {"label": "rtvi-ai", "type": "client-ready", "id": uuid.uuid4().hex, "data": about}
        channel.send(json.dumps(ready))
        self._tasks.append(asyncio.create_task(self._ping(channel), name="test-ping"))
        await self.stream.kind("call_connected", timeout_s=CONNECT_TIMEOUT_S)
        return self

    def _hear(self, track: Any) -> None:
        if track.kind == "audio":
            self._tasks.append(asyncio.create_task(self.ear.listen(track), name="test-ear"))

    async def _offer(self, sdp: str) -> dict[str, Any]:
        body = {"sdp": sdp, "type": "offer", "request_data": {"session_id": self.session_id}}
        response = await self.http.post("/api/offer", json=body)
        if response.status_code != 200:
            raise Refused(response.status_code, response.json())
        answer: dict[str, Any] = response.json()
        return answer

    async def _ping(self, channel: Any) -> None:
        while channel.readyState == "open":
            channel.send("ping")
            await asyncio.sleep(PING_S)

    async def settle(self, *, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        """Wait until the agent is silent: after its greeting or its last answer."""
        await self.ear.quiet(END_OF_ANSWER_S, timeout_s=timeout_s)

    def speak(self, recording: str | Samples) -> Utterance:
        """Begin to speak a recording."""
        samples = load_recording(recording) if isinstance(recording, str) else recording
        return self.microphone.say(samples)

    async def ask(
        self, recording: str | Samples, *, timeout_s: float = ANSWER_TIMEOUT_S, listen_s: float | None = None
    ) -> Exchange:
        """Speak a recording, listen to the answer, and return both.

        Args:
            recording: What to say.
            timeout_s: Longest wait for the sound, and again for its end (seconds).
            listen_s: Ask for quiet after so much of the answer (seconds); None hears it to the end.

        Raises:
            TimeoutError: No sound, or no end of the answer, came in time.
        """
        mark = len(self.events)
        utterance = self.speak(recording)
        await utterance.is_over.wait()
        sound_s = await self.ear.first_sound_after(utterance.start_s + 0.3, timeout_s=timeout_s)
        was_cut_early = sound_s < utterance.end_s
        if was_cut_early:
            sound_s = await self.ear.first_sound_after(utterance.end_s, timeout_s=timeout_s)
        if listen_s is not None:
            await asyncio.sleep(max(0.0, sound_s + listen_s - time.perf_counter()))
            await self.stream.send({"type": "interrupt"})
        await self.stream.kind("turn_finished", after=mark, timeout_s=timeout_s)
        await self.settle(timeout_s=timeout_s)
        return self._exchange(utterance, sound_s, mark, was_cut_early)

    def _exchange(self, utterance: Utterance, sound_s: float, mark: int, was_cut_early: bool) -> Exchange:
        events = self.events[mark:]
        turns = [event for event in events if event["kind"] == "turn_started"]
        replies = [event["text"] for event in events if event["kind"] == "turn_finished"]
        latencies = [event for event in events if event["kind"] == "latency"]
        return Exchange(
            heard=" ".join(turn["text"] for turn in turns),
            reply=" ".join(replies).strip(),
            start_s=utterance.start_s,
            end_s=utterance.end_s,
            sound_s=sound_s,
            audio=self.ear.between(sound_s - 0.1, time.perf_counter()),
            turns=tuple(turns),
            latency=latencies[-1] if latencies else None,
            was_cut_early=was_cut_early or len(turns) > 1,
        )

    async def hang_up(self) -> None:
        """End the call in good order."""
        await self._peer.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.stream.close()
        await self.http.aclose()


@asynccontextmanager
async def calling(
    base_url: str, session_id: str = "", verify: ssl.SSLContext | None = None
) -> AsyncIterator[Client]:
    """Yield a connected caller and hang up at the end."""
    client = Client(base_url, session_id, verify)
    try:
        yield await client.connect()
    finally:
        await client.hang_up()


async def _main(options: argparse.Namespace) -> None:
    async with calling(options.url, options.session) as client:
        _say(f"connected: session {client.session_id}, call {client.pc_id}")
        await asyncio.sleep(1.0)
        await client.settle()
        for recording in options.recordings:
            exchange = await client.ask(recording)
            _say(f"heard   {exchange.heard}")
            _say(f"reply   {exchange.reply}  ({exchange.voice_to_voice_s:.2f} s)")
        await asyncio.sleep(options.hold)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Read the command line and call."""
    parser = argparse.ArgumentParser(description="Call a running agent and speak recordings to it.")
    parser.add_argument("recordings", nargs="*", help="names of testing/recordings, or sound files")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--session", default="", help="conversation to go on with")
    parser.add_argument("--hold", type=float, default=0.0, help="stay on the line (seconds)")
    asyncio.run(_main(parser.parse_args()))


if __name__ == "__main__":
    main()
