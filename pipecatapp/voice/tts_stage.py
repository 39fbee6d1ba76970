"""The TTS stage: chunks of a reply become sound, the first ones before the turn is even over.

It owns the sound prepared in advance; where to cut an answer is `clause_aggregator`'s, and making sound is
the TextToSpeech port's.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator

from pipecat.frames.frames import ErrorFrame, Frame, TTSAudioRawFrame
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TTSService
from pipecat.utils.text.base_text_aggregator import Aggregation, BaseTextAggregator, TextType

from pipecatapp.errors import AgentError
from pipecatapp.speech.speaker import Speaker
from pipecatapp.voice.call_context import CallContext

CHUNK_S = 0.2
"""Sound handed on at a time (seconds); an interruption drops at most this much work."""
PREPARED_PIECES = 16
"""Pieces kept prepared; an answer has at most two of them, and a few may be withdrawn unheard."""


class PreparedSpeech:
    """Sound made before it is known to be wanted.

    Args:
        speaker: The voice.
    """

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self._pieces: OrderedDict[str, asyncio.Task[bytes]] = OrderedDict()

    def prepare(self, text: str) -> None:
        """Begin to make the sound of `text`."""
        key = _key(text)
        if key in self._pieces or not self._speaker.can_say(key):
            return
        self._pieces[key] = asyncio.create_task(self._make(key), name="prepared-speech")
        while len(self._pieces) > PREPARED_PIECES:
            self._pieces.popitem(last=False)[1].cancel()

    def take(self, text: str) -> asyncio.Task[bytes] | None:
        """Return the sound of `text` if it was prepared; it is given once."""
        return self._pieces.pop(_key(text), None)

    def clear(self) -> None:
        """Drop everything prepared."""
        for task in self._pieces.values():
            task.cancel()
        self._pieces.clear()

    async def _make(self, text: str) -> bytes:
        return b"".join([chunk async for chunk in self._speaker.say(text)])


def _key(text: str) -> str:
    """Return a piece without the spaces that came or went on its way."""
    return text.rstrip(" ")


class _WholePieces(BaseTextAggregator):
    """Takes each text as a whole: the LLM stage has cut the answer already.

    Pipecat's own token mode would do so too, but it tells what was spoken only sentence by sentence, and
    an interruption would lose the clauses that were heard.
    """

    @property
    def text(self) -> Aggregation:
        """Nothing is ever held back."""
        return Aggregation("", TextType.SENTENCE)

    async def aggregate(self, text: str) -> AsyncIterator[Aggregation]:
        """Yield `text`."""
        if text.strip():
            # A line's end stays, for the pause there, and what a line of code begins with.
            yield Aggregation(text.rstrip(" "), TextType.SENTENCE)

    async def flush(self) -> Aggregation | None:
        """Return None: nothing is held back."""
        return None

    async def handle_interruption(self) -> None:
        """Nothing to drop."""

    async def reset(self) -> None:
        """Nothing to drop."""


class TtsStage(TTSService):
    """Pipecat's TTS stage over our voice.

    Only the sound is of words; the frames, and so the conversation and the page, keep what was written.

    Args:
        speaker: The voice.
        prepared: Sound made in advance.
        context: The call's shared state.
    """

    Settings = TTSSettings

    def __init__(self, speaker: Speaker, prepared: PreparedSpeech, context: CallContext) -> None:
        super().__init__(
            push_start_frame=True,
            push_stop_frames=True,
            settings=TTSSettings(model=speaker.voice.name, voice=speaker.voice.name, language=None),
        )
        # Pipecat types it by its own default and takes any aggregator.
        self._text_aggregator = _WholePieces()  # type: ignore[assignment]
        self._speaker = speaker
        self._prepared = prepared
        self._context = context

    def can_generate_metrics(self) -> bool:
        """Return True: pipecat measures the time to the first sound."""
        return True

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        """Yield the sound of `text`; none where it has no words."""
        self._context.playout.begin(text)
        if not self._speaker.can_say(text):
            return
        try:
            async for frame in self._stream_audio_frames_from_iterator(
                self._sound(text), in_sample_rate=self._speaker.voice.sample_rate_hz, context_id=context_id
            ):
                if isinstance(frame, TTSAudioRawFrame):
                    self._context.playout.synthesized(len(frame.audio))
                self._context.trace.mark("first_audio")
                await self.stop_ttfb_metrics()
                yield frame
        except AgentError as exc:
            self._context.report(exc)
            yield ErrorFrame(error=exc.message)
        finally:
            await self.stop_ttfb_metrics()

    async def _sound(self, text: str) -> AsyncIterator[bytes]:
        prepared = self._prepared.take(text)
        step = int(self._speaker.voice.sample_rate_hz * CHUNK_S) * 2
        if prepared is not None:
            sound = await prepared
            for start in range(0, len(sound), step):
                yield sound[start : start + step]
            return
        async for chunk in self._speaker.say(text):
            for start in range(0, len(chunk), step):
                yield chunk[start : start + step]
