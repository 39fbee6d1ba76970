"""The two ends of a call's sound: a microphone that speaks recordings, an ear that keeps what it hears.

It owns samples and their times (`time.perf_counter`, seconds); calls are `client.py`'s.
"""

from __future__ import annotations

import asyncio
import fractions
import time
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import soundfile
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

RECORDINGS = Path(__file__).resolve().parent.parent / "recordings"
RATE_HZ = 48_000
"""WebRTC's Opus is always 48 kHz."""
FRAME_SAMPLES = RATE_HZ // 50
"""One packet: 20 ms."""
NOISE = 3.0
"""Standard deviation of a quiet room's samples, of 32768."""
AUDIBLE = 500
"""A sample above this can be heard; encoder noise stays far below."""
PAUSE_S = 0.25
"""Sound after a longer pause counts as a new sound; pauses inside a sentence are shorter."""

Samples = npt.NDArray[np.int16]


def resample(samples: Samples, rate_hz: int, to_hz: int) -> Samples:
    """Return mono `samples` of `rate_hz` at `to_hz`."""
    if rate_hz == to_hz:
        return samples
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples)[None], layout="mono")
    frame.sample_rate = rate_hz
    resampler = av.AudioResampler("s16", "mono", to_hz)
    return np.concatenate(
        [out.to_ndarray()[0] for out in [*resampler.resample(frame), *resampler.resample(None)]]
    )


def load_recording(name: str) -> Samples:
    """Return a recording of `testing/recordings` (or the sound file at that path) at 48 kHz, ends trimmed."""
    path = RECORDINGS / f"{name}.flac"
    samples, rate_hz = soundfile.read(path if path.is_file() else name, dtype="int16", always_2d=True)
    mono = resample(np.ascontiguousarray(samples[:, 0]), rate_hz, RATE_HZ)
    loud = np.flatnonzero(np.abs(mono.astype(np.int32)) > 0.01 * np.abs(mono.astype(np.int32)).max())
    return mono[loud[0] : loud[-1] + 1]


@dataclass(slots=True)
class Utterance:
    """Something the microphone says. `start_s` and `end_s` are known when it has begun."""

    samples: Samples
    start_s: float = 0.0
    position: int = 0
    is_over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def end_s(self) -> float:
        """When the last sample was spoken."""
        return self.start_s + len(self.samples) / RATE_HZ


class Microphone(MediaStreamTrack):  # type: ignore[misc]
    """A microphone in a quiet room, paced as a real one: one packet each 20 ms."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._sent = 0
        self._began_s = 0.0
        self._noise = np.random.default_rng(7)
        self._utterance: Utterance | None = None

    def say(self, samples: Samples) -> Utterance:
        """Speak `samples` from the next packet on."""
        self._utterance = Utterance(samples)
        return self._utterance

    async def recv(self) -> av.AudioFrame:
        """Return the next packet when its time has come."""
        if not self._began_s:
            self._began_s = time.perf_counter()
        due_s = self._began_s + self._sent / RATE_HZ
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        samples = (self._noise.standard_normal(FRAME_SAMPLES) * NOISE).astype(np.int16)
        if self._utterance is not None:
            samples = self._speak(self._utterance, samples, due_s)
        frame = av.AudioFrame.from_ndarray(samples[None], layout="mono")
        frame.sample_rate = RATE_HZ
        frame.pts = self._sent
        frame.time_base = fractions.Fraction(1, RATE_HZ)
        self._sent += FRAME_SAMPLES
        return frame

    def _speak(self, utterance: Utterance, room: Samples, due_s: float) -> Samples:
        if utterance.position == 0:
            utterance.start_s = due_s
        piece = utterance.samples[utterance.position : utterance.position + FRAME_SAMPLES]
        room[: len(piece)] += piece
        utterance.position += FRAME_SAMPLES
        if utterance.position >= len(utterance.samples):
            self._utterance = None
            utterance.is_over.set()
        return room


class Ear:
    """Keeps everything that a remote track plays, with the time at which it could be heard."""

    def __init__(self) -> None:
        self._frames: list[tuple[float, Samples]] = []
        self._sounds: list[tuple[float, float]] = []
        self._news = asyncio.Event()
        self.gaps = 0
        """Packets that came more than 60 ms after the one before: sound that broke."""

    async def listen(self, track: MediaStreamTrack) -> None:
        """Keep what `track` plays until it ends."""
        last_s = 0.0
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            now_s = time.perf_counter()
            self.gaps += bool(last_s) and now_s - last_s > 0.06
            last_s = now_s
            samples = frame.to_ndarray().reshape(-1)
            self._keep(now_s, samples[::2] if frame.layout.name == "stereo" else samples)

    def _keep(self, now_s: float, samples: Samples) -> None:
        self._frames.append((now_s, samples))
        loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > AUDIBLE)
        if not len(loud):
            return
        first_s, last_s = now_s + loud[0] / RATE_HZ, now_s + loud[-1] / RATE_HZ
        if self._sounds and first_s - self._sounds[-1][1] < PAUSE_S:
            self._sounds[-1] = (self._sounds[-1][0], last_s)
        else:
            self._sounds.append((first_s, last_s))
        self._news.set()

    @property
    def sounds(self) -> list[tuple[float, float]]:
        """Stretches of sound so far: start and end (seconds), a pause of `PAUSE_S` between two."""
        return list(self._sounds)

    @property
    def quiet_for_s(self) -> float:
        """How long nothing has been heard; infinite when nothing ever was."""
        return time.perf_counter() - self._sounds[-1][1] if self._sounds else float("inf")

    async def first_sound_after(self, start_s: float, *, timeout_s: float) -> float:
        """Return when the first sound began that began after `start_s`.

        Raises:
            TimeoutError: Nothing was heard until `timeout_s` seconds from now.
        """
        async with asyncio.timeout(timeout_s):
            while True:
                self._news.clear()
                for begin_s, _ in self._sounds:
                    if begin_s > start_s:
                        return begin_s
                await self._news.wait()

    async def quiet(self, for_s: float, *, timeout_s: float) -> None:
        """Wait until nothing has been heard for `for_s` seconds.

        Raises:
            TimeoutError: It was not quiet within `timeout_s` seconds.
        """
        async with asyncio.timeout(timeout_s):
            while True:
                rest_s = for_s - self.quiet_for_s
                if rest_s <= 0:
                    return
                await asyncio.sleep(rest_s)

    def between(self, start_s: float, end_s: float) -> Samples:
        """Return what was heard between two times."""
        kept = [samples for at_s, samples in self._frames if start_s <= at_s <= end_s]
        return np.concatenate(kept) if kept else np.zeros(0, np.int16)

    def save(self, path: Path) -> None:
        """Write all that was heard as a sound file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, self.between(0, float("inf")), RATE_HZ, subtype="PCM_16")
