"""The speech-to-text engines that STT_SERVICE may name; `auto` takes the first default that runs here.

An engine is one entry and one adapter beside this file. Importing the table loads no engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipecatapp.adapters.engine import Default, EngineOptions, LoadableEngine, NativeTrial
from pipecatapp.ports import SpeechToText


@dataclass(frozen=True, slots=True, kw_only=True)
class SttEngine(LoadableEngine[SpeechToText]):
    """A speech-to-text engine."""


WHISPER_FLAGS = ("sse4_1",)
"""What CTranslate2's wheels need; without it transcription ends in SIGILL."""
# CTranslate2: docs, "Environment variables"; its wheels bring MKL and oneDNN, which have switches of their
# own (Intel oneMKL developer guide, "Instruction set specific dispatching"; oneDNN, "CPU dispatcher
# control").
_CTRANSLATE2_STEPS = (
    {"CT2_FORCE_CPU_ISA": "AVX512", "MKL_ENABLE_INSTRUCTIONS": "AVX512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    {"CT2_FORCE_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    {"CT2_FORCE_CPU_ISA": "GENERIC", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "ONEDNN_MAX_CPU_ISA": "SSE41"},
)
WHISPER_TRIAL = NativeTrial(
    name="whisper",
    label="Whisper (CTranslate2)",
    part="stt",
    libraries={"ctranslate2": "ctranslate2", "faster_whisper": "faster-whisper"},
    steps=_CTRANSLATE2_STEPS,
)


async def _short_window(options: EngineOptions) -> SpeechToText:
    from pipecatapp.adapters.stt.whisper_short_window import ShortWindowWhisper

    return await ShortWindowWhisper.load(options.model, threads=options.threads)


async def _faster_whisper(options: EngineOptions) -> SpeechToText:
    from pipecatapp.adapters.stt.faster_whisper import FasterWhisperStt

    return await FasterWhisperStt.load(options.model, threads=options.threads)


async def _realtimestt(options: EngineOptions) -> SpeechToText:
    from pipecatapp.adapters.stt.realtimestt import RealtimeStt

    return await RealtimeStt.load(options.model)


async def _pocketsphinx(_options: EngineOptions) -> SpeechToText:
    from pipecatapp.adapters.stt.pocketsphinx import PocketSphinxStt

    return await PocketSphinxStt.load()


async def _openai(options: EngineOptions) -> SpeechToText:
    from pipecatapp.adapters.stt.openai import OpenAiStt

    return OpenAiStt(options.base_url, options.model_name or "whisper-1", options.api_key)


ENGINES: Mapping[str, SttEngine] = {
    "embedded": SttEngine(
        label="Whisper",
        title="Whisper on CTranslate2, short window",
        default=Default.ALWAYS,
        requires_cpu=WHISPER_FLAGS,
        extra="voice",
        models="faster-whisper-",
        trial=WHISPER_TRIAL,
        load=_short_window,
    ),
    "faster-whisper": SttEngine(
        label="faster-whisper",
        title="the same library the stock way, beam search",
        requires_cpu=WHISPER_FLAGS,
        extra="voice",
        models="faster-whisper-",
        trial=WHISPER_TRIAL,
        load=_faster_whisper,
    ),
    "realtimestt": SttEngine(
        label="RealtimeSTT",
        title="RealtimeSTT's recorder, fed by us",
        requires_cpu=WHISPER_FLAGS,
        extra="realtimestt",
        models="faster-whisper-",
        trial=WHISPER_TRIAL,
        note="it brings torch, 6 GB",
        load=_realtimestt,
    ),
    "pocketsphinx": SttEngine(
        label="pocketsphinx",
        title="PocketSphinx, its own English model",
        default=Default.ALWAYS,
        extra="voice",
        load=_pocketsphinx,
    ),
    "openai": SttEngine(
        label="the server",
        title="any `/audio/transcriptions`",
        needs_server=True,
        load=_openai,
    ),
}
"""By the names of STT_SERVICE, in order of preference."""
