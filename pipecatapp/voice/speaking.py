"""Speech out: pieces of an answer become sound, the first ones before the turn is even over.

It owns the sound prepared in advance; where to cut an answer is `clauses`', and making sound is the
TextToSpeech port's.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator

from pipecat.frames.frames import ErrorFrame, Frame, TTSAudioRawFrame
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TTSService
from pipecat.utils.text.base_text_aggregator import Aggregation, BaseTextAggregator, TextType

from pipecatapp.errors import AgentError
from pipecatapp.ports import TextToSpeech
from pipecatapp.voice.clauses import speakable
from pipecatapp.voice.room import Room

CHUNK_S = 0.2
"""Sound handed on at a time (seconds); an interruption drops at most this much work."""
PREPARED_PIECES = 16
"""Pieces kept prepared; an answer has at most two of them, and a few may be withdrawn unheard."""

_SAYABLE = re.compile(r"\w")


class PreparedSpeech:
    """Sound made before it is known to be wanted.

    Args:
        engine: The voice.
    """

    def __init__(self, engine: TextToSpeech) -> None:
        self._engine = engine
        self._pieces: OrderedDict[str, asyncio.Task[bytes]] = OrderedDict()

    def prepare(self, text: str) -> None:
        """Begin to make the sound of `text`."""
        key = speakable(text)
        if key in self._pieces or not _SAYABLE.search(key):
            return
        self._pieces[key] = asyncio.create_task(self._make(key), name="prepared-speech")
        while len(self._pieces) > PREPARED_PIECES:
            self._pieces.popitem(last=False)[1].cancel()

    def take(self, text: str) -> asyncio.Task[bytes] | None:
        """Return the sound of `text` if it was prepared; it is given once."""
        return self._pieces.pop(speakable(text), None)

    def clear(self) -> None:
        """Drop everything prepared."""
        for task in self._pieces.values():
            task.cancel()
        self._pieces.clear()

    async def _make(self, text: str) -> bytes:
        return b"".join([chunk async for chunk in self._engine.synthesize(text)])


class _WholePieces(BaseTextAggregator):
    """Takes each text as a whole: the thinking stage has cut the answer already.

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
            yield Aggregation(text.strip(), TextType.SENTENCE)

    async def flush(self) -> Aggregation | None:
        """Return None: nothing is held back."""
        return None

    async def handle_interruption(self) -> None:
        """Nothing to drop."""

    async def reset(self) -> None:
        """Nothing to drop."""


class SpeakingService(TTSService):
    """Pipecat's TTS stage over our TextToSpeech port.

    Args:
        engine: The voice.
        prepared: Sound made in advance.
        room: The call's shared state.
    """

    Settings = TTSSettings

    def __init__(self, engine: TextToSpeech, prepared: PreparedSpeech, room: Room) -> None:
        super().__init__(
            push_start_frame=True,
            push_stop_frames=True,
            settings=TTSSettings(model=engine.name, voice=engine.name, language=None),
        )
        # Pipecat types it by its own default and takes any aggregator.
        self._text_aggregator = _WholePieces()  # type: ignore[assignment]
        self._engine = engine
        self._prepared = prepared
        self._room = room

    def can_generate_metrics(self) -> bool:
        """Return True: pipecat measures the time to the first sound."""
        return True

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        """Yield the sound of `text`."""
        if not _SAYABLE.search(text):
            return
        self._room.spoken.begin(text)
        try:
            async for frame in self._stream_audio_frames_from_iterator(
                self._sound(text), in_sample_rate=self._engine.sample_rate_hz, context_id=context_id
            ):
                if isinstance(frame, TTSAudioRawFrame):
                    self._room.spoken.made(len(frame.audio))
                self._room.trace.mark("first_audio")
                await self.stop_ttfb_metrics()
                yield frame
        except AgentError as exc:
            self._room.report(exc)
            yield ErrorFrame(error=exc.message)
        finally:
            await self.stop_ttfb_metrics()

    async def _sound(self, text: str) -> AsyncIterator[bytes]:
        prepared = self._prepared.take(text)
        step = int(self._engine.sample_rate_hz * CHUNK_S) * 2
        if prepared is not None:
            sound = await prepared
            for start in range(0, len(sound), step):
                yield sound[start : start + step]
            return
        async for chunk in self._engine.synthesize(speakable(text)):
            for start in range(0, len(chunk), step):
                yield chunk[start : start + step]
