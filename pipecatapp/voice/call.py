"""One call: a WebRTC connection, the pipeline on it, and its end.

It owns the pipeline's shape and the call's life; admission of calls is `call_manager`'s.

    in -> voice activity -> STT -> user turn -> LLM -> TTS -> out -> playout -> assistant
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    Frame,
    InterruptionFrame,
    LLMMessagesAppendFrame,
    OutputAudioRawFrame,
    TTSSpeakFrame,
    TTSTextFrame,
)
from pipecat.observers.base_observer import BaseObserver, FramePushed
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.transports.base_transport import TransportParams
from pipecat.transports.smallwebrtc.connection import SmallWebRTCConnection
from pipecat.transports.smallwebrtc.transport import SmallWebRTCTransport
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner

from pipecatapp.events import (
    AssistantDelta,
    AssistantSpoken,
    BotStartedSpeaking,
    BotStoppedSpeaking,
    CallConnected,
    CallEnded,
    Interrupted,
    TurnFinished,
)
from pipecatapp.ports import SpeechToText, TextToSpeech
from pipecatapp.settings import Settings
from pipecatapp.speech.speaker import Speaker
from pipecatapp.units import SPEECH_RATE_HZ
from pipecatapp.voice.call_context import CallContext
from pipecatapp.voice.endpointing import endpointing_strategy
from pipecatapp.voice.llm_stage import LlmStage
from pipecatapp.voice.playout_tracker import PlayoutTracker
from pipecatapp.voice.presence import CONNECT_TIMEOUT_S, until_gone
from pipecatapp.voice.stt_stage import SttStage
from pipecatapp.voice.tts_stage import PreparedSpeech, TtsStage
from pipecatapp.voice.vad import SileroVad

log = logging.getLogger(__name__)

OUTPUT_RATE_HZ = 24_000
"""Sample rate of the pipeline's speech (hertz); Opus on the wire is 48 kHz whatever this is."""
OUTPUT_CHUNK_10MS = 2
"""Sound is sent 20 ms at a time, one Opus packet, so that an interruption is heard at once."""
TEARDOWN_TIMEOUT_S = 5.0
"""Longest wait for each part of a call to end (seconds); it takes some 0.1 s, or for ever."""
GREETING_TURN = "greeting"
"""The greeting's turn id; it answers nothing and is not part of the conversation."""


@dataclass(frozen=True, slots=True)
class VoiceEngines:
    """What every call of this process shares."""

    stt: SpeechToText
    tts: TextToSpeech


@dataclass(frozen=True, slots=True)
class CallLimits:
    """How long a call waits for others."""

    connect_s: float = CONNECT_TIMEOUT_S
    """For its client to connect (seconds, > 0)."""
    teardown_s: float = TEARDOWN_TIMEOUT_S
    """For each part of it to end (seconds, > 0)."""


class Call:
    """One call of one session.

    Args:
        connection: The WebRTC connection, initialised.
        context: The call's shared state.
        engines: The shared engines.
        settings: Voice settings.
        is_alone: Says whether this is the only call of the process.
        limits: How long the client and the teardown are waited for.
    """

    def __init__(
        self,
        connection: SmallWebRTCConnection,
        context: CallContext,
        engines: VoiceEngines,
        settings: Settings,
        *,
        is_alone: Callable[[], bool],
        limits: CallLimits,
    ) -> None:
        self.connection = connection
        self.context = context
        self._settings = settings
        self._limits = limits
        self._end_reason = "hung-up"
        self._is_over = asyncio.Event()
        self._pipeline: asyncio.Task[None] | None = None
        self._llm_context = LLMContext()
        self._speaker = Speaker(engines.tts)
        self._prepared = PreparedSpeech(self._speaker)
        self._llm = LlmStage(context, self._prepared, self._speaker.text)
        context.playout = PlayoutTracker(self._speaker.text.length)
        self._worker = self._build(engines, is_alone)

    @property
    def pc_id(self) -> str:
        """The connection's name on the wire."""
        return str(self.connection.pc_id)

    async def talk(self) -> None:
        """Talk until either side ends the call; what is left of it then is `leave`'s."""
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(self._worker)
        self._pipeline = asyncio.create_task(runner.run(), name="call-pipeline")
        self._pipeline.add_done_callback(lambda _: self._is_over.set())
        watch = asyncio.create_task(self._watch_client(), name="call-client")
        try:
            await self._is_over.wait()
        finally:
            watch.cancel()

    def end(self, reason: str) -> None:
        """End the call now. `reason` is one of `CallEnded`'s; the first one counts."""
        if not self._is_over.is_set():
            self._end_reason = reason
            self._is_over.set()

    async def leave(self) -> None:
        """Tear down what `talk` left: every part is tried, and none is waited for longer than the limit."""
        async with AsyncExitStack() as parts:
            # The last one goes first.
            parts.callback(self._say_ended)
            parts.push_async_callback(hang_up, self.connection, self._limits.teardown_s)
            parts.push_async_callback(self._llm.finish_turn, "", interrupted=True)
            parts.callback(self._prepared.clear)
            parts.push_async_callback(self._stop_pipeline)

    async def say(self, text: str) -> None:
        """Take typed `text` as the user's next turn, over whatever is being said."""
        await self._worker.rtvi.interrupt_bot()
        await self._worker.flush_pipeline()
        self.context.turn_over()
        await self._worker.queue_frame(
            LLMMessagesAppendFrame(messages=[{"role": "user", "content": text}], run_llm=True)
        )

    def _build(self, engines: VoiceEngines, is_alone: Callable[[], bool]) -> PipelineWorker:
        settings = self._settings
        transport = SmallWebRTCTransport(
            self.connection,
            TransportParams(
                audio_in_enabled=True, audio_out_enabled=True, audio_out_10ms_chunks=OUTPUT_CHUNK_10MS
            ),
        )
        vad = SileroVad(start_s=settings.vad_start_s, stop_s=settings.vad_stop_s)
        stt = SttStage(
            engines.stt,
            vad,
            self.context,
            partial_s=settings.partial_s,
            pause_s=settings.pause_s if settings.speculation else 0.0,
            is_alone=is_alone,
            audio_passthrough=settings.turn_detection == "smart",
        )
        tts = TtsStage(self._speaker, self._prepared, self.context)
        user_params = LLMUserAggregatorParams(
            user_turn_strategies=UserTurnStrategies(
                stop=[
                    endpointing_strategy(
                        settings.turn_detection,
                        timeout_s=settings.turn_timeout_s,
                        speculates=settings.speculation,
                    )
                ]
            ),
            # Audio stops at the STT stage, so its absence here means nothing.
            audio_idle_timeout=0,
        )
        user, assistant = LLMContextAggregatorPair(self._llm_context, user_params=user_params)
        worker = PipelineWorker(
            Pipeline(
                [
                    transport.input(),
                    VADProcessor(vad_analyzer=vad),
                    stt,
                    user,
                    self._llm,
                    tts,
                    transport.output(),
                    _PlayoutReporter(self.context),
                    assistant,
                ]
            ),
            params=PipelineParams(
                audio_in_sample_rate=SPEECH_RATE_HZ, audio_out_sample_rate=OUTPUT_RATE_HZ, enable_metrics=True
            ),
            idle_timeout_secs=settings.call_idle_s,
            cancel_on_idle_timeout=False,
            observers=[_SpeechObserver(self.context)],
        )
        self._listen(transport, assistant, worker)
        return worker

    def _listen(self, transport: Any, assistant: Any, worker: PipelineWorker) -> None:
        """Follow the pipeline's own events."""

        async def connected(_transport: Any, _client: Any) -> None:
            self.context.publish(CallConnected(pc_id=self.pc_id))
            log.info("Call connected", extra={"session": self.context.session.id})
            self.context.session.prefill()
            greeting = "" if self._settings.benchmark_mode else self._settings.greeting
            if greeting:
                self.context.is_greeting = True
                self.context.publish(AssistantDelta(turn_id=GREETING_TURN, text=greeting))
                await worker.queue_frame(TTSSpeakFrame(greeting, append_to_context=True))

        async def disconnected(_transport: Any, _client: Any) -> None:
            self.end("hung-up")

        async def spoken(_aggregator: Any, message: Any) -> None:
            if self.context.is_greeting:
                self.context.is_greeting = False
                self.context.playout.clear()
                self.context.publish(
                    TurnFinished(
                        turn_id=GREETING_TURN,
                        text=" ".join(message.content.split()),
                        interrupted=message.interrupted,
                    )
                )
            else:
                await self._llm.finish_turn(message.content, interrupted=message.interrupted)

        async def idle(_worker: Any) -> None:
            self.end("idle")

        async def failed(_worker: Any, frame: Any) -> None:
            log.warning("The pipeline reported an error", extra={"pii_text": frame.error})

        transport.add_event_handler("on_client_connected", connected)
        transport.add_event_handler("on_client_disconnected", disconnected)
        assistant.add_event_handler("on_assistant_turn_stopped", spoken)
        worker.add_event_handler("on_idle_timeout", idle)
        worker.add_event_handler("on_pipeline_error", failed)

    async def _watch_client(self) -> None:
        self.end(await until_gone(self.connection, connect_timeout_s=self._limits.connect_s))

    async def _stop_pipeline(self) -> None:
        pipeline = self._pipeline
        if pipeline is None:
            return
        await self._worker.cancel()
        await asyncio.wait({pipeline}, timeout=self._limits.teardown_s)
        if not pipeline.done():
            log.warning("The pipeline of a call did not end in time")
            pipeline.cancel()
        elif not pipeline.cancelled() and (failure := pipeline.exception()) is not None:
            self._end_reason = "failed"
            log.error("The pipeline of a call failed", exc_info=failure)

    def _say_ended(self) -> None:
        self.context.publish(CallEnded(pc_id=self.pc_id, reason=self._end_reason))
        log.info("Call ended", extra={"session": self.context.session.id, "reason": self._end_reason})


async def hang_up(connection: SmallWebRTCConnection, timeout_s: float) -> None:
    """Close `connection`, and wait for that at most `timeout_s` seconds.

    A second close waits for the first one, and for ever when that one was cancelled in the middle.
    """
    try:
        async with asyncio.timeout(timeout_s):
            await connection.disconnect()
    except TimeoutError:
        log.warning("A connection did not close in time")


class _PlayoutReporter(FrameProcessor):
    """Tells the session which words have been sent as sound; it stands behind the output."""

    def __init__(self, context: CallContext) -> None:
        super().__init__()
        self._context = context

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Note spoken words, pass everything."""
        await super().process_frame(frame, direction)
        if isinstance(frame, OutputAudioRawFrame):
            self._context.playout.played(len(frame.audio))
        elif isinstance(frame, TTSTextFrame):
            self._context.playout.completed()
            if self._context.turn is not None:
                self._context.turn.mark_spoken(frame.text.strip())
            elif self._context.is_greeting:
                self._context.publish(AssistantSpoken(turn_id=GREETING_TURN, text=frame.text.strip()))
        await self.push_frame(frame, direction)


class _SpeechObserver(BaseObserver):
    """Tells the session when sound starts, stops and is cut."""

    def __init__(self, context: CallContext) -> None:
        super().__init__(observe_every_push=False)
        self._context = context
        self._seen = 0

    async def on_push_frame(self, data: FramePushed) -> None:
        """Publish what matters of each frame, once."""
        frame = data.frame
        if not isinstance(frame, BotStartedSpeakingFrame | BotStoppedSpeakingFrame | InterruptionFrame):
            return
        number = _broadcast_number(frame)
        if number == self._seen:
            return
        self._seen = number
        if isinstance(frame, BotStartedSpeakingFrame):
            self._context.publish(BotStartedSpeaking())
            self._context.trace.bot_started()
        elif isinstance(frame, BotStoppedSpeakingFrame):
            self._context.publish(BotStoppedSpeaking())
        elif self._context.turn is not None:
            self._context.turn.interrupt()
        elif self._context.is_greeting:
            self._context.publish(Interrupted(turn_id=GREETING_TURN))


def _broadcast_number(frame: Frame) -> int:
    """Return one number for both halves of a frame that went both ways."""
    sibling = frame.broadcast_sibling_id
    return min(frame.id, sibling) if sibling else frame.id
