"""Audio codecs of the usual file formats, by FFmpeg's libraries (PyAV).

It owns which forms there are. A file is known by its first bytes, and only the reader for that form is tried:
FFmpeg knows playlists too, which would make it open other files and addresses.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np

from pipecatapp.adapters.audio.pcm import to_wav
from pipecatapp.errors import AdapterError
from pipecatapp.units import BYTES_PER_SAMPLE, SPEECH_RATE_HZ

READ_FORMATS = ("flac", "m4a", "mp3", "mp4", "ogg", "wav", "webm")
"""What `decode_audio` takes, by the names that people know."""
PCM_RATE_HZ = 24_000
"""Rate of samples without a file around them: OpenAI's, which its callers take for granted (hertz)."""
_OPUS_RATE_HZ = 48_000
"""The rate that Opus works at (RFC 6716, section 2)."""
_WRITERS: dict[str, tuple[str, str, int, str]] = {
    # Container, codec, rate (0: the voice's own), media type.
    "mp3": ("mp3", "libmp3lame", 0, "audio/mpeg"),
    "opus": ("ogg", "libopus", _OPUS_RATE_HZ, "audio/ogg"),
    "aac": ("adts", "aac", 0, "audio/aac"),
    "flac": ("flac", "flac", 0, "audio/flac"),
}
WRITE_FORMATS = (*_WRITERS, "wav", "pcm")
"""What `FileWriter` makes."""


def media_type(form: str) -> str:
    """Return the media type of a form in `WRITE_FORMATS`."""
    if form in _WRITERS:
        return _WRITERS[form][3]
    return "audio/wav" if form == "wav" else f"audio/pcm;rate={PCM_RATE_HZ};channels=1"


def decode_audio(data: bytes, *, longest_s: float) -> bytes:
    """Return a sound file as mono 16-bit samples at `SPEECH_RATE_HZ`.

    Args:
        data: The file.
        longest_s: Longest sound that is taken (seconds, > 0).

    Raises:
        AdapterError: `sound-form`, `sound-broken` or `sound-too-long`; the message is for the sender.
    """
    import av

    name = _form_of(data)
    if not name:
        message = f"This is no sound file of a form that is known: {', '.join(READ_FORMATS)}."
        raise AdapterError("sound-form", message, status=400)
    pieces: list[bytes] = []
    left = round(longest_s * SPEECH_RATE_HZ) * BYTES_PER_SAMPLE
    try:
        with av.open(io.BytesIO(data), "r", format=name, metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise AdapterError("sound-broken", "There is no sound in this file.", status=400)
            resampler = av.AudioResampler(format="s16", layout="mono", rate=SPEECH_RATE_HZ)
            for frame in container.decode(container.streams.audio[0]):
                left -= _take(resampler, frame, pieces)
                if left < 0:
                    raise _too_long(longest_s)
            _take(resampler, None, pieces)
    except (av.FFmpegError, ValueError) as exc:
        raise AdapterError("sound-broken", "This sound file cannot be read.", status=400) from exc
    return b"".join(pieces)


def _form_of(data: bytes) -> str:
    """Return FFmpeg's name for the form of a file, or ""."""
    head = data[:12]
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        return "wav"
    if head[4:8] == b"ftyp":
        return "mp4"
    for magic, name in ((b"fLaC", "flac"), (b"OggS", "ogg"), (b"ID3", "mp3"), (b"\x1aE\xdf\xa3", "matroska")):
        if head.startswith(magic):
            return name
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        # The two bits of the layer tell MPEG audio from AAC, which has none (ISO 13818-7, 6.2).
        return "mp3" if head[1] & 0x06 else "aac"
    return ""


def _take(resampler: Any, frame: Any, pieces: list[bytes]) -> int:
    """Add what the resampler makes of a frame to `pieces`, and return its size (bytes)."""
    size = 0
    for made in resampler.resample(frame):
        pieces.append(made.to_ndarray().astype("<i2").tobytes())
        size += len(pieces[-1])
    return size


def _too_long(longest_s: float) -> AdapterError:
    return AdapterError(
        "sound-too-long", f"Sounds of up to {longest_s / 60:.0f} minutes are taken.", status=400
    )


class PyAvCodec:
    """The AudioCodec port, by PyAV."""

    write_formats = WRITE_FORMATS

    def media_type(self, audio_format: str) -> str:
        """Return the media type of one of `write_formats`."""
        return media_type(audio_format)

    def decode(self, data: bytes, *, longest_s: float) -> bytes:
        """Return a sound file as mono 16-bit samples at `SPEECH_RATE_HZ`; see `decode_audio`."""
        return decode_audio(data, longest_s=longest_s)

    def writer(self, audio_format: str, rate_hz: int) -> FileWriter:
        """Return a file to be made."""
        return FileWriter(audio_format, rate_hz)


class FileWriter:
    """Makes a sound file while its sound is still being made.

    Args:
        form: One of `WRITE_FORMATS`.
        rate_hz: Samples per second of what is fed.
    """

    def __init__(self, form: str, rate_hz: int) -> None:
        import av

        self._rate_hz = rate_hz
        self._buffer = _WriteSink()
        self._whole: list[bytes] = []
        self._resampler: Any = None
        self._container: Any = None
        self._stream: Any = None
        self._feed: Callable[[bytes], None] = self._whole.append
        if form == "wav":
            return
        rate = PCM_RATE_HZ
        if form in _WRITERS:
            container, codec, wanted, _ = _WRITERS[form]
            rate = wanted or rate_hz
            self._container = av.open(self._buffer, "w", format=container, options={"flush_packets": "1"})
            self._stream = self._container.add_stream(codec, rate=rate, layout="mono")
            sample_format = self._stream.codec_context.format.name
            self._resampler = av.AudioResampler(format=sample_format, layout="mono", rate=rate)
            self._feed = self._encode
        else:
            self._resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
            self._feed = self._resample

    def feed(self, pcm: bytes) -> bytes:
        """Take mono 16-bit samples, and return what is ready of the file."""
        self._feed(pcm)
        return self._buffer.taken()

    def end(self) -> bytes:
        """Return the rest of the file."""
        if self._resampler is None:
            return to_wav(b"".join(self._whole), self._rate_hz)
        if self._container is None:
            self._write_samples(None)
        else:
            self._write_packets(None)
            for packet in self._stream.encode(None):
                self._container.mux(packet)
            self._container.close()
        return self._buffer.taken()

    def _frame(self, pcm: bytes) -> Any:
        import av

        frame = av.AudioFrame.from_ndarray(np.frombuffer(pcm, "<i2").reshape(1, -1), "s16", "mono")
        frame.sample_rate = self._rate_hz
        return frame

    def _resample(self, pcm: bytes) -> None:
        self._write_samples(self._frame(pcm))

    def _write_samples(self, frame: Any) -> None:
        pieces: list[bytes] = []
        _take(self._resampler, frame, pieces)
        self._buffer.write(b"".join(pieces))

    def _encode(self, pcm: bytes) -> None:
        self._write_packets(self._frame(pcm))

    def _write_packets(self, frame: Any) -> None:
        for made in self._resampler.resample(frame):
            for packet in self._stream.encode(made):
                self._container.mux(packet)


class _WriteSink:
    """A file that can only be written; what was written is taken away."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)
