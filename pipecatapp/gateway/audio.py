"""Transcription and speech in OpenAI's format, by the agent's own engines.

It owns the requests' and the answers' shapes, and that people's calls go on meanwhile: recogniser and voice
do one thing after the other, so what a program wants is handed to them in small pieces. There is one of each;
which names mean it is said by `model_aliases`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from pipecatapp.errors import GatewayError
from pipecatapp.gateway.model_aliases import RECOGNISERS, SPEECH_MODELS, check_model, check_voice
from pipecatapp.gateway.multipart import Form
from pipecatapp.gateway.request import text_field
from pipecatapp.ports import AudioCodec, AudioWriter, SpeechToText, SplitSpeech, TextToSpeech
from pipecatapp.speech.speaker import Speaker
from pipecatapp.units import BYTES_PER_SAMPLE, SPEECH_RATE_HZ

MAX_AUDIO_S = 1800.0
"""Longest sound that is written down (seconds): an old desktop takes some minutes for it."""
MIN_AUDIO_S = 0.1
"""Shortest sound that is written down (seconds), as OpenAI has it; in a shorter one nothing can be heard."""
MAX_INPUT_CHARS = 4096
"""Longest text that is spoken, as OpenAI has it."""
NO_WORDS = "Nothing in input can be said: it has no words, only signs, pictures or code."
"""What a caller is told whose text is no speech."""
TEXT_FORMATS = ("json", "text", "verbose_json")
"""How a transcript may come."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a transcript, with where it is in the sound (seconds)."""

    start_s: float
    end_s: float
    text: str


class Transcriber:
    """Writes sound files down.

    Args:
        stt: The recogniser.
        codec: Reads the files.
        split: Cuts long sound into what the recogniser takes at once.
    """

    def __init__(self, stt: SpeechToText, codec: AudioCodec, split: SplitSpeech) -> None:
        self._stt = stt
        self._codec = codec
        self._split = split
        self._turn = asyncio.Lock()

    async def transcribe(self, form: Form) -> tuple[str, Any]:
        """Return a transcript as its caller wants it: the form, and a text or a JSON object.

        Raises:
            GatewayError: The request is wrong; the message says what is valid.
            AdapterError: The sound cannot be read, or the recogniser failed.
        """
        check_model(form.fields.get("model", ""), self._stt.name, RECOGNISERS)
        wanted = form.fields.get("response_format") or "json"
        if wanted not in TEXT_FORMATS:
            message = f"response_format is {', '.join(TEXT_FORMATS)}; {wanted!r} is none of them."
            raise GatewayError("invalid_value", message, param="response_format")
        if form.fields.get("stream", "false").lower() == "true":
            raise GatewayError("invalid_value", "Transcripts are not streamed.", param="stream")
        if "word" in (form.fields.get("timestamp_granularities[]") or ""):
            message = "Times are told of segments, not of words."
            raise GatewayError("invalid_value", message, param="timestamp_granularities")
        if "file" not in form.files:
            raise GatewayError("missing_required_parameter", "There is no file.", param="file")
        pcm = await asyncio.to_thread(self._codec.decode, form.files["file"], longest_s=MAX_AUDIO_S)
        if len(pcm) < MIN_AUDIO_S * SPEECH_RATE_HZ * BYTES_PER_SAMPLE:
            message = f"The sound must be at least {MIN_AUDIO_S:g} seconds long."
            raise GatewayError("audio_too_short", message, param="file")
        # One at a time, or two programs would leave a call every third turn only.
        async with self._turn:
            segments = await self._segments(pcm)
        return wanted, _told(wanted, segments, len(pcm) / (BYTES_PER_SAMPLE * SPEECH_RATE_HZ))

    async def _segments(self, pcm: bytes) -> list[Segment]:
        segments = []
        for start, end in self._split(pcm):
            piece = pcm[start * BYTES_PER_SAMPLE : end * BYTES_PER_SAMPLE]
            text = (await self._stt.transcribe(piece, final=True)).text
            if text:
                segments.append(Segment(start / SPEECH_RATE_HZ, end / SPEECH_RATE_HZ, text))
        return segments


def _told(wanted: str, segments: Sequence[Segment], duration_s: float) -> Any:
    text = " ".join(segment.text for segment in segments)
    if wanted == "text":
        return text + "\n"
    usage = {"type": "duration", "seconds": math.ceil(duration_s)}
    if wanted == "json":
        return {"text": text, "usage": usage}
    return {
        "task": "transcribe",
        "language": "english",
        "duration": round(duration_s, 3),
        "text": text,
        "segments": [
            {"id": number, "start": round(one.start_s, 3), "end": round(one.end_s, 3), "text": one.text}
            for number, one in enumerate(segments)
        ],
        "usage": usage,
    }


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    """What is to be spoken, and the format of the file."""

    text: str
    audio_format: str
    media_type: str


def parse_speech_request(fields: Mapping[str, Any], codec: AudioCodec) -> SpeechRequest:
    """Return what a request wants spoken.

    Args:
        fields: Of the request.
        codec: Makes the file.

    Raises:
        GatewayError: The request is wrong; the message says what is valid.
    """
    text = text_field(fields, "input")
    if not text.strip():
        raise GatewayError("missing_required_parameter", "There is no text in input.", param="input")
    if len(text) > MAX_INPUT_CHARS:
        message = f"input may have {MAX_INPUT_CHARS} characters."
        raise GatewayError("invalid_value", message, param="input")
    audio_format = text_field(fields, "response_format", "mp3")
    if audio_format not in codec.write_formats:
        message = f"response_format is {', '.join(codec.write_formats)}; {audio_format!r} is none of them."
        raise GatewayError("invalid_value", message, param="response_format")
    if fields.get("speed") not in (None, 1, 1.0):
        raise GatewayError("invalid_value", "The voice has one speed: 1.", param="speed")
    if text_field(fields, "stream_format", "audio") != "audio":
        raise GatewayError("invalid_value", "stream_format can only be audio.", param="stream_format")
    return SpeechRequest(text.strip(), audio_format, codec.media_type(audio_format))


class Synthesizer:
    """Speaks texts into sound files.

    Args:
        tts: The voice.
        codec: Makes the files.
    """

    def __init__(self, tts: TextToSpeech, codec: AudioCodec) -> None:
        self._speaker = Speaker(tts)
        self._codec = codec

    def parse(self, fields: Mapping[str, Any]) -> SpeechRequest:
        """Return what a request wants spoken, once the names in it are checked.

        Raises:
            GatewayError: The request is wrong; the message says what is valid.
        """
        self.check_names(fields)
        return parse_speech_request(fields, self._codec)

    def check_names(self, fields: Mapping[str, Any]) -> None:
        """Check the model and the voice that a request names.

        Raises:
            GatewayError: There is none of that name; the message lists those there are.
        """
        check_model(text_field(fields, "model"), self._speaker.voice.name, SPEECH_MODELS)
        check_voice(text_field(fields, "voice"), self._speaker.voice.name)

    async def speak(self, request: SpeechRequest) -> AsyncGenerator[bytes, None]:
        """Yield a sound file while it is made, a sentence at a time; it is never without sound.

        Raises:
            GatewayError: Nothing of the text can be said.
            AdapterError: The voice failed.
        """
        writer: AudioWriter | None = None
        async with aclosing(self._speaker.say(request.text)) as sound:
            async for pcm in sound:
                if writer is None:
                    writer = await asyncio.to_thread(
                        self._codec.writer, request.audio_format, self._speaker.voice.sample_rate_hz
                    )
                if piece := await asyncio.to_thread(writer.feed, pcm):
                    yield piece
        if writer is None:
            raise GatewayError("invalid_value", NO_WORDS, param="input")
        yield await asyncio.to_thread(writer.end)
