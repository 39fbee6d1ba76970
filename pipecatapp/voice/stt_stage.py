"""The STT stage: interim transcripts while the user speaks, an early one at a pause, and the final one.

It owns when the recogniser is asked and which answer counts; recognising is the SpeechToText
port's, where an utterance may stand is drawn in `utterance`, and the end of the turn is decided in
`endpointing`.

The recogniser takes whole utterances, so it is asked again and again on the growing one. When the
level drops for `pause_s` it is asked at once: if no more voice follows, that answer is the final
one and costs no wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

import numpy as np
from pipecat.frames.frames import (
    EagerEndOfTurnCancelFrame,
    EagerTranscriptionFrame,
    Frame,
    InterimTranscriptionFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.settings import STTSettings
from pipecat.services.stt_service import STTService
from pipecat.utils.time import time_now_iso8601

from pipecatapp.errors import AgentError
from pipecatapp.events import UserStartedSpeaking, UserStoppedSpeaking, UserTranscript
from pipecatapp.ports import SpeechToText
from pipecatapp.units import BYTES_PER_SAMPLE, SPEECH_RATE_HZ, seconds_of
from pipecatapp.voice.call_context import CallContext
from pipecatapp.voice.utterance import Event, State, Utterance
from pipecatapp.voice.vad import SileroVad

PRE_ROLL_S = 0.6
"""Audio kept from before voice activity began (seconds): its 0.2 s of certainty, and a soft onset."""
TAIL_S = 0.1
"""Audio of an ended utterance that may begin the next one (seconds)."""
STT_P99_S = 0.6
"""Longest usual wait for a final transcript after voice activity ended (seconds); ours are marked final."""


class SttStage(STTService):
    """Pipecat's STT stage over our SpeechToText port.

    Args:
        engine: The recogniser.
        vad: The analyser that runs before this stage.
        context: The call's shared state.
        partial_s: Time between interim transcripts (seconds); 0 for none.
        pause_s: Pause after which the answer is prepared in advance (seconds); 0 for never.
        is_alone: Says whether this is the only call; with others, interim work would delay their answers.
        audio_passthrough: Whether later stages need the audio.
    """

    Settings = STTSettings

    def __init__(
        self,
        engine: SpeechToText,
        vad: SileroVad,
        context: CallContext,
        *,
        partial_s: float,
        pause_s: float,
        is_alone: Callable[[], bool],
        audio_passthrough: bool,
    ) -> None:
        super().__init__(
            sample_rate=SPEECH_RATE_HZ,
            ttfs_p99_latency=STT_P99_S,
            settings=STTSettings(model=engine.name, language=None),
            audio_passthrough=audio_passthrough,
        )
        self._engine = engine
        self._vad = vad
        self._context = context
        self._clock = context.clock
        self._partial_s = partial_s
        self._pause_s = pause_s
        self._is_alone = is_alone
        self._ring = bytearray()
        self._utterance: Utterance | None = None
        self._job: asyncio.Task[None] | None = None
        self._job_bytes = 0
        self._requested_s = 0.0

    def can_generate_metrics(self) -> bool:
        """Return True: pipecat measures the time to the final transcript."""
        return True

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        """Take 20 ms of audio; transcripts are pushed from tasks of their own."""
        if self._utterance is None:
            self._ring += audio
            del self._ring[: -_bytes_of(PRE_ROLL_S)]
        else:
            self._listen(self._utterance, audio)
            await self._ask_if_due(self._utterance)
        yield None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Follow voice activity; everything else is pipecat's."""
        if isinstance(frame, VADUserStartedSpeakingFrame):
            self._begin()
            self._context.publish(UserStartedSpeaking())
            self._context.trace.user_started()
        await super().process_frame(frame, direction)
        if isinstance(frame, VADUserStoppedSpeakingFrame) and self._utterance is not None:
            utterance, self._utterance = self._utterance, None
            self._ring = bytearray(utterance.pcm[-_bytes_of(TAIL_S) :])
            self._context.trace.speech_ended(frame.stop_secs)
            self._context.publish(UserStoppedSpeaking())
            self.create_task(self._finish(utterance), "stt-final")

    def _begin(self) -> None:
        utterance = Utterance()
        ring, self._ring = bytes(self._ring), bytearray()
        step = _bytes_of(0.02)
        for start in range(0, len(ring), step):
            self._listen(utterance, ring[start : start + step])
        utterance.voiced_end = len(utterance.pcm)
        utterance.level.quiet_s = 0.0
        self._utterance = utterance
        self._requested_s = self._clock.monotonic_s()

    def _listen(self, utterance: Utterance, audio: bytes) -> None:
        utterance.pcm += audio
        length_s = seconds_of(audio, SPEECH_RATE_HZ)
        if utterance.level.feed(_rms(audio), length_s) and (
            self._vad.is_voiced or not utterance.state.is_paused
        ):
            utterance.voiced_end = len(utterance.pcm)

    async def _ask_if_due(self, utterance: Utterance) -> None:
        if utterance.is_pause_over(is_voiced=self._vad.is_voiced):
            was_eager = utterance.state is State.EAGER
            utterance.on(Event.RESUMED)
            if was_eager:
                await self.broadcast_frame(EagerEndOfTurnCancelFrame)
        if utterance.is_voice_over(self._pause_s):
            utterance.on(Event.QUIET)
            self._ask(utterance)
        elif (
            self._partial_s
            and not utterance.state.is_paused
            and self._is_alone()
            and (self._job is None or self._job.done())
            and self._clock.monotonic_s() - self._requested_s >= self._partial_s
        ):
            self._ask(utterance)

    def _ask(self, utterance: Utterance) -> None:
        self._requested_s = self._clock.monotonic_s()
        self._job_bytes = len(utterance.pcm)
        self._job = self.create_task(self._recognise(utterance), "stt-interim")

    async def _recognise(self, utterance: Utterance) -> None:
        pcm = bytes(utterance.pcm)
        try:
            # What is recognised at a pause may become the final transcript, so it must be as good.
            text = (await self._engine.transcribe(pcm, final=utterance.state.is_paused)).text
        except AgentError as exc:
            self._context.report(exc)
            return
        if len(pcm) < utterance.heard_bytes:
            return
        utterance.heard, utterance.heard_bytes = text, len(pcm)
        if utterance is not self._utterance or not text:
            return
        self._context.publish(UserTranscript(text=self._context.join_heard(text), final=False))
        if utterance.state.is_paused and len(pcm) >= utterance.voiced_end:
            utterance.on(Event.ANSWERED)
            await self.push_frame(EagerTranscriptionFrame(text, self._user_id, time_now_iso8601()))
        else:
            # The last word may still change; the model reads the others while the user goes on.
            self._context.session.prefill(self._context.join_heard(text.rpartition(" ")[0]))
            await self.push_frame(InterimTranscriptionFrame(text, self._user_id, time_now_iso8601()))

    async def _finish(self, utterance: Utterance) -> None:
        try:
            text = await self._final_text(utterance)
        except AgentError as exc:
            self._context.report(exc)
            text = utterance.heard
        self._context.trace.mark("transcript")
        self.request_finalize()
        self.confirm_finalize()
        if text:
            self._context.heard(text)
            self._context.publish(UserTranscript(text=self._context.heard_text, final=True))
            await self.push_frame(TranscriptionFrame(text, self._user_id, time_now_iso8601()))

    async def _final_text(self, utterance: Utterance) -> str:
        job = self._job
        if job is not None and not job.done() and self._job_bytes >= utterance.voiced_end:
            await asyncio.wait([job])
        if utterance.heard_bytes >= utterance.voiced_end and utterance.heard:
            return utterance.heard
        return (await self._engine.transcribe(bytes(utterance.pcm), final=True)).text


def _bytes_of(duration_s: float) -> int:
    return int(duration_s * SPEECH_RATE_HZ) * BYTES_PER_SAMPLE


def _rms(audio: bytes) -> float:
    samples = np.frombuffer(audio, np.int16).astype(np.float32)
    return float(np.sqrt(np.mean(samples * samples))) if samples.size else 0.0
