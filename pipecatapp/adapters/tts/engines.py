"""The text-to-speech engines that TTS_SERVICE may name; `auto` takes the first default that runs here.

An engine is one entry and one adapter beside this file. Importing the table loads no engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipecatapp.adapters.engine import Default, EngineOptions, LoadableEngine, NativeTrial
from pipecatapp.ports import TextToSpeech


@dataclass(frozen=True, slots=True, kw_only=True)
class TtsEngine(LoadableEngine[TextToSpeech]):
    """A text-to-speech engine."""


async def _piper(options: EngineOptions) -> TextToSpeech:
    from pipecatapp.adapters.tts.piper import PiperTts

    return await PiperTts.load(options.model, threads=options.threads)


async def _kokoro(options: EngineOptions) -> TextToSpeech:
    from pipecatapp.adapters.tts.kokoro import KokoroTts

    return await KokoroTts.load(options.model, voice=options.voice, threads=options.threads)


async def _espeak(options: EngineOptions) -> TextToSpeech:
    from pipecatapp.adapters.tts.espeak import EspeakTts

    return await EspeakTts.load(voice=options.voice or "en-us")


async def _openai(options: EngineOptions) -> TextToSpeech:
    from pipecatapp.adapters.tts.openai import OpenAiTts

    return OpenAiTts(
        options.base_url,
        options.model_name or "tts-1",
        options.voice or "alloy",
        options.api_key,
        language=options.language,
    )


ENGINES: Mapping[str, TtsEngine] = {
    "piper": TtsEngine(
        label="Piper",
        title="Piper",
        default=Default.WITH_MODEL,
        extra="voice",
        models="piper-",
        trial=NativeTrial(
            name="piper",
            label="Piper (ONNX Runtime)",
            part="tts",
            libraries={"onnxruntime": "onnxruntime", "piper": "piper-tts"},
        ),
        load=_piper,
    ),
    "kokoro": TtsEngine(
        label="Kokoro",
        title="Kokoro-82M int8, 54 voices (`TTS_VOICE=bf_emma`)",
        extra="voice",
        models="kokoro",
        trial=NativeTrial(
            name="kokoro",
            label="Kokoro (ONNX Runtime)",
            part="tts",
            libraries={"onnxruntime": "onnxruntime", "kokoro_onnx": "kokoro-onnx"},
        ),
        note="quick enough with AVX2 only",
        load=_kokoro,
    ),
    "espeak": TtsEngine(
        label="espeak-ng",
        title="espeak-ng",
        default=Default.ALWAYS,
        package="espeak-ng",
        load=_espeak,
    ),
    "openai": TtsEngine(
        label="the server",
        title="any `/audio/speech`, raw 24 kHz samples",
        needs_server=True,
        note="`TTS_LANGUAGE` says which language it speaks",
        load=_openai,
    ),
}
"""By the names of TTS_SERVICE, in order of preference."""
