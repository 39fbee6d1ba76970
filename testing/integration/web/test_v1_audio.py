"""Sound over the gateway: files of every form in and out, and what is refused."""

from __future__ import annotations

import io
import struct
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from pipecatapp.adapters.audio.codec import PCM_RATE_HZ, WRITE_FORMATS, FileWriter, decode_audio
from pipecatapp.adapters.audio.pcm import to_wav
from pipecatapp.errors import AdapterError
from pipecatapp.speech.speaker import LINE_PAUSE_S, Speaker
from pipecatapp.units import BYTES_PER_SAMPLE, SPEECH_RATE_HZ
from testing.fakes.fake_tts import TONE_HZ, FakeTts
from testing.integration.web.test_v1 import error_of, house, pieces_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


def tone(seconds: float, rate_hz: int = 22_050) -> bytes:
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    return (8000 * np.sin(2 * np.pi * TONE_HZ * times)).astype("<i2").tobytes()


def file_of(form: str, seconds: float = 1.0) -> bytes:
    writer = FileWriter(form, 22_050)
    return writer.feed(tone(seconds)) + writer.end()


def heard(pcm: bytes, rate_hz: int = SPEECH_RATE_HZ) -> float:
    """Return the loudest frequency (hertz)."""
    samples = np.frombuffer(pcm, "<i2").astype(float)
    return float(np.abs(np.fft.rfft(samples)).argmax() * rate_hz / len(samples))


@pytest.mark.parametrize("form", [form for form in WRITE_FORMATS if form != "pcm"])
def test_what_is_written_can_be_read(form: str) -> None:
    pcm = decode_audio(file_of(form, 2.0), longest_s=10)
    assert len(pcm) / BYTES_PER_SAMPLE / SPEECH_RATE_HZ == pytest.approx(2.0, abs=0.2)
    assert heard(pcm) == pytest.approx(TONE_HZ, abs=2)


def test_a_file_grows_while_it_is_made() -> None:
    writer = FileWriter("mp3", 22_050)
    assert all(writer.feed(tone(0.5)) for _ in range(4))


@pytest.mark.parametrize("form", ["wav", "mp3", "flac", "opus"])
async def test_a_file_is_written_down(tmp_path: Path, form: str) -> None:
    async with house(tmp_path) as it, it.client() as http:
        sent = {"file": (f"x.{form}", file_of(form), "application/octet-stream")}
        reply = await http.post("/v1/audio/transcriptions", data={"model": "whisper-1"}, files=sent)
    assert reply.json()["text"] == "Part 1."
    assert reply.json()["usage"] == {"type": "duration", "seconds": pytest.approx(1, abs=1)}


async def test_a_long_file_is_written_down_in_pieces(tmp_path: Path) -> None:
    async with house(tmp_path) as it, it.client() as http:
        sent = {"file": ("x.wav", to_wav(tone(70.0, 8000), 8000), "audio/wav")}
        form = {"model": "default", "response_format": "verbose_json"}
        told = (await http.post("/v1/audio/transcriptions", data=form, files=sent)).json()
        text = await http.post("/v1/audio/transcriptions", data={"response_format": "text"}, files=sent)
    assert told["text"] == "Part 1. Part 2. Part 3. Part 4." and told["duration"] == pytest.approx(
        70, abs=0.1
    )
    ends = [segment["end"] for segment in told["segments"]]
    assert [segment["start"] for segment in told["segments"]] == [0, *ends[:-1]] and ends[-1] == told[
        "duration"
    ]
    assert text.text == "Part 5. Part 6. Part 7. Part 8.\n" and text.headers["content-type"].startswith(
        "text/plain"
    )


@pytest.mark.parametrize(
    ("form", "file", "said"),
    [
        ({}, b"", "no sound file of a form that is known"),
        ({}, b"#EXTM3U\nfile:///etc/passwd\n", "no sound file of a form that is known"),
        ({}, b"RIFF\0\0\0\0WAVEnothing", "cannot be read"),
        ({}, None, "no file"),
        ({"response_format": "srt"}, b"x", "json, text, verbose_json"),
        ({"stream": "true"}, b"x", "not streamed"),
        ({"timestamp_granularities[]": "word"}, b"x", "not of words"),
    ],
)
async def test_what_cannot_be_written_down_is_told(
    tmp_path: Path, form: dict[str, str], file: bytes | None, said: str
) -> None:
    files: Any = {"file": ("x.wav", file)} if file is not None else {"other": ("x", b"x")}
    async with house(tmp_path) as it, it.client() as http:
        reply = await http.post("/v1/audio/transcriptions", data=form, files=files)
    assert reply.status_code == 400 and said in error_of(reply)["message"]


def wav(
    data: bytes, *, rate_hz: int = 16_000, channels: int = 1, bits: int = 16, told_bytes: int | None = None
) -> bytes:
    """Return a WAV file whose header says what it is told to."""
    size = len(data) if told_bytes is None else told_bytes
    block = channels * bits // 8 & 0xFFFF
    form = struct.pack("<IHHIIHH", 16, 1, channels, rate_hz, rate_hz * block & 0xFFFF_FFFF, block, bits)
    return (
        b"RIFF"
        + struct.pack("<I", min(size + 36, 0xFFFF_FFFF))
        + b"WAVEfmt "
        + form
        + b"data"
        + struct.pack("<I", size)
        + data
    )


def as_24_bit_stereo(pcm: bytes) -> bytes:
    samples = np.repeat(np.frombuffer(pcm, "<i2").astype("<i4") * 256, 2)
    return samples.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()


SECOND = tone(1.0, 16_000)


@pytest.mark.parametrize(
    ("file", "duration"),
    [
        (wav(as_24_bit_stereo(tone(1.0, 1000)), rate_hz=1000, channels=2, bits=24), 1.0),
        # What a program writes that streams it, and does not know its length.
        (wav(SECOND, told_bytes=0xFFFF_FFFF), 1.0),
        (wav(SECOND, told_bytes=0), 1.0),
        (wav(SECOND, told_bytes=100_000_000), 1.0),
        (wav(SECOND, told_bytes=16_000), 0.5),
        (wav(SECOND[:-1]), 1.0),
    ],
)
async def test_a_wav_with_an_odd_header_is_written_down(tmp_path: Path, file: bytes, duration: float) -> None:
    async with house(tmp_path) as it, it.client() as http:
        form = {"model": "whisper-1", "response_format": "verbose_json"}
        reply = await http.post("/v1/audio/transcriptions", data=form, files={"file": ("x.wav", file)})
    assert reply.status_code == 200 and reply.json()["text"] == "Part 1."
    assert reply.json()["duration"] == pytest.approx(duration, abs=0.01)
    assert heard(decode_audio(file, longest_s=10)) == pytest.approx(TONE_HZ, abs=2)


@pytest.mark.parametrize(
    "file",
    [
        wav(SECOND, rate_hz=0),
        wav(SECOND, channels=0),
        wav(SECOND, channels=65_535),
        wav(SECOND, bits=0),
        wav(SECOND, rate_hz=0xFFFF_FFFF),
        wav(SECOND, rate_hz=1),
        wav(b""),
        wav(bytes(320)),
    ],
)
async def test_a_wav_with_an_impossible_header_or_no_sound_is_refused(tmp_path: Path, file: bytes) -> None:
    async with house(tmp_path) as it, it.client() as http:
        reply = await http.post("/v1/audio/transcriptions", files={"file": ("x.wav", file)})
    assert reply.status_code == 400
    words = ("cannot be read", "up to 30 minutes", "at least 0.1 seconds")
    assert any(word in error_of(reply)["message"] for word in words)


@pytest.mark.parametrize("tells_length", [True, False])
async def test_a_file_of_200_megabytes_is_refused_before_it_is_read(
    tmp_path: Path, tells_length: bool
) -> None:
    size = 200_000_000
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    if tells_length:
        headers["Content-Length"] = str(size)
    async with house(tmp_path) as it, it.client() as http:
        reply = await http.post("/v1/audio/transcriptions", content=pieces_of(size), headers=headers)
        after = await http.get("/v1/audio/nothing")
    assert (reply.status_code, error_of(reply)["code"]) == (413, "too-large")
    assert "26214400 bytes" in error_of(reply)["message"]
    assert after.status_code == 404, "it goes on answering"


@pytest.mark.parametrize(
    ("path", "fields", "status", "param", "valid"),
    [
        ("speech", {"model": "tts-9"}, 404, "model", "default, fake voice, tts-1, tts-1-hd"),
        ("speech", {"voice": "nobody"}, 400, "voice", "default, fake voice, alloy, ash"),
        ("transcriptions", {"model": "ear-1"}, 404, "model", "whisper-1, gpt-4o-transcribe"),
    ],
)
async def test_a_voice_or_model_that_does_not_exist_lists_those_that_do(
    tmp_path: Path, path: str, fields: dict[str, str], status: int, param: str, valid: str
) -> None:
    async with house(tmp_path) as it, it.client() as http:
        if path == "speech":
            reply = await http.post("/v1/audio/speech", json={**SPEECH, **fields})
        else:
            files = {"file": ("x.wav", wav(SECOND))}
            reply = await http.post("/v1/audio/transcriptions", data=fields, files=files)
    error = error_of(reply)
    assert (reply.status_code, error["param"]) == (status, param) and valid in error["message"]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=a", b"--a\r\nno end"),
        ("multipart/form-data; boundary=a", b"--a\r\n\r\nno name\r\n--a--\r\n"),
        ("multipart/form-data; boundary=a", b"--a\r\n" * 1000),
    ],
)
async def test_a_broken_form_is_refused(tmp_path: Path, content_type: str, body: bytes) -> None:
    async with house(tmp_path) as it, it.client() as http:
        reply = await http.post(
            "/v1/audio/transcriptions", content=body, headers={"Content-Type": content_type}
        )
    assert reply.status_code == 400 and error_of(reply)["code"] == "invalid_form"


def test_a_sound_that_is_too_long_is_told() -> None:
    with pytest.raises(AdapterError, match="up to 1 minutes"):
        decode_audio(to_wav(tone(70, 8000), 8000), longest_s=60)


SPEECH = {"model": "tts-1", "voice": "alloy", "input": "One two three. Four five!"}


@pytest.mark.parametrize("form", ["mp3", "opus", "aac", "flac", "wav"])
async def test_a_text_is_spoken_into_a_file(tmp_path: Path, form: str) -> None:
    async with house(tmp_path) as it, it.client() as http:
        reply = await http.post("/v1/audio/speech", json={**SPEECH, "response_format": form})
    pcm = decode_audio(reply.content, longest_s=10)
    assert reply.headers["content-type"].startswith("audio/")
    assert len(pcm) / BYTES_PER_SAMPLE / SPEECH_RATE_HZ == pytest.approx(1.5, abs=0.2)
    assert heard(pcm) == pytest.approx(TONE_HZ, abs=2)


async def test_plain_samples_come_at_openais_rate(tmp_path: Path) -> None:
    async with house(tmp_path) as it, it.client() as http:
        plain = await http.post("/v1/audio/speech", json={**SPEECH, "response_format": "pcm"})
        default = await http.post("/v1/audio/speech", json=SPEECH)
        wav = await http.post("/v1/audio/speech", json={**SPEECH, "response_format": "wav"})
    assert heard(plain.content, PCM_RATE_HZ) == pytest.approx(TONE_HZ, abs=2)
    assert len(plain.content) / BYTES_PER_SAMPLE / PCM_RATE_HZ == pytest.approx(1.5, abs=0.1)
    assert default.headers["content-type"] == "audio/mpeg"
    with wave.open(io.BytesIO(wav.content)) as file:
        assert file.getnframes() / file.getframerate() == pytest.approx(1.5, abs=0.1)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": "x" * 4097}, "input"),
        ({"input": 3}, "input"),
        ({"response_format": "midi"}, "response_format"),
        ({"speed": 2}, "speed"),
        ({"stream_format": "sse"}, "stream_format"),
    ],
)
async def test_what_cannot_be_spoken_is_told(tmp_path: Path, fields: dict[str, Any], param: str) -> None:
    async with house(tmp_path) as it, it.client() as http:
        reply = await http.post("/v1/audio/speech", json={**SPEECH, **fields})
    assert (reply.status_code, error_of(reply)["param"]) == (400, param)


NOTES = """# Plan

Pay **$37.60** at 9:00, then run `make`:

```sh
curl https://example.com/x
```

- Rope
- Candles

Read [the guide](https://example.com/guide)."""


async def test_a_voice_is_given_words_and_no_marks_links_or_code(tmp_path: Path) -> None:
    async with house(tmp_path) as it, it.client() as http:
        tts = FakeTts()
        it.gateway.synthesizer._speaker = Speaker(tts)
        reply = await http.post("/v1/audio/speech", json={**SPEECH, "input": NOTES})
    assert reply.status_code == 200
    assert tts.texts == [
        "Plan.",
        "Pay thirty-seven dollars sixty at nine o'clock, then run make:",
        "Rope.",
        "Candles.",
        "Read the guide.",
    ]


async def test_a_list_is_spoken_with_pauses(tmp_path: Path) -> None:
    async with house(tmp_path) as it, it.client() as http:
        it.gateway.synthesizer._speaker = Speaker(FakeTts(word_s=0.5))
        fields = {"input": "Rope\nCandles\nSalt", "response_format": "wav"}
        reply = await http.post("/v1/audio/speech", json={**SPEECH, **fields})
    samples = np.frombuffer(decode_audio(reply.content, longest_s=10), "<i2").astype(np.int32)
    is_loud = [np.abs(part).max() > 500 for part in np.split(samples[: len(samples) // 1600 * 1600], 21)]
    runs = [index for index in range(1, len(is_loud)) if is_loud[index] and not is_loud[index - 1]]
    assert len(runs) == 2 and len(samples) / SPEECH_RATE_HZ == pytest.approx(
        3 * 0.5 + 2 * LINE_PAUSE_S, abs=0.05
    )


@pytest.mark.parametrize("text", ["\U0001f389\U0001f389", "...", "----", "```\nx = 1\n```", "# \n- "])
@pytest.mark.parametrize("form", ["mp3", "wav"])
async def test_what_has_no_words_is_refused_and_never_an_empty_file(
    tmp_path: Path, text: str, form: str
) -> None:
    async with house(tmp_path) as it, it.client() as http:
        fields = {"input": text, "response_format": form}
        reply = await http.post("/v1/audio/speech", json={**SPEECH, **fields})
    error = error_of(reply)
    assert (reply.status_code, error["type"], error["param"]) == (400, "invalid_request_error", "input")
    assert "no words" in error["message"]


class SilentTts(FakeTts):
    """A voice that finds no sound for words."""

    async def synthesize(self, text: str) -> AsyncIterator[bytes]:
        for nothing in ():
            yield nothing


async def test_a_voice_that_makes_no_sound_is_no_empty_file(tmp_path: Path) -> None:
    async with house(tmp_path) as it, it.client() as http:
        it.gateway.synthesizer._speaker = Speaker(SilentTts())
        reply = await http.post("/v1/audio/speech", json={**SPEECH, "response_format": "wav"})
    assert reply.status_code == 400


class HoarseTts(FakeTts):
    """A voice that fails after its first sentence."""

    async def synthesize(self, text: str) -> AsyncIterator[bytes]:
        if self.texts:
            raise AdapterError("engine-failed", "the voice is gone")
        async for pcm in super().synthesize(text):
            yield pcm


async def test_a_voice_that_fails_is_told_or_seen(tmp_path: Path) -> None:
    async with house(tmp_path) as it, it.client() as http:
        tts = HoarseTts(word_s=2.0)
        it.gateway.synthesizer._speaker = Speaker(tts)
        with pytest.raises(httpx.RemoteProtocolError):
            await http.post("/v1/audio/speech", json=SPEECH)
        reply = await http.post("/v1/audio/speech", json=SPEECH)
    assert (reply.status_code, error_of(reply)["code"]) == (503, "engine-failed")
