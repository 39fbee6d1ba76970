"""Piper: a small neural voice, many times quicker than real time on two cores.

It owns loading a voice and cutting the silence it begins with; sentences are cut by who calls it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from pipecatapp.adapters.audio.pcm import trim_leading_silence
from pipecatapp.adapters.host.onnx_session import onnx_errors, open_session
from pipecatapp.adapters.host.worker_thread import WorkerThread
from pipecatapp.errors import AdapterError

WARM_UP = "This sentence warms the voice up."
"""The first synthesis takes several times as long as the next ones."""


class PiperTts:
    """A Piper voice.

    Args:
        voice: The voice's ONNX file, or the folder that holds it; its settings are beside it as `.onnx.json`.
        threads: CPU threads of one synthesis, > 0.
        length_scale: Slowness: 1 is the voice's own pace, 2 half as fast.
        speaker: Number of the speaker in a voice of several.
        spin: Let idle threads spin.
    """

    def __init__(
        self,
        voice: Path,
        *,
        threads: int = 2,
        length_scale: float = 1.0,
        speaker: int | None = None,
        spin: bool = False,
    ) -> None:
        self._path = voice
        self._threads = threads
        self._length_scale = length_scale
        self._speaker = speaker
        self._spin = spin
        self._worker = WorkerThread("text to speech")
        self._voice: Any = None
        self._config: Any = None
        self._rate_hz = 0
        self._language = ""

    @classmethod
    async def load(
        cls,
        voice: Path,
        *,
        threads: int = 2,
        length_scale: float = 1.0,
        speaker: int | None = None,
        spin: bool = False,
    ) -> PiperTts:
        """Return it with its voice in memory and warm; the arguments are the class's.

        Raises:
            AdapterError: The package or the voice is missing or does not work.
        """
        engine = cls(voice, threads=threads, length_scale=length_scale, speaker=speaker, spin=spin)
        await engine._worker.open(engine._open)
        return engine

    @property
    def name(self) -> str:
        """Engine and voice."""
        return f"piper ({self._path.stem})"

    @property
    def language(self) -> str:
        """The voice's language."""
        return self._language

    @property
    def sample_rate_hz(self) -> int:
        """Samples per second."""
        return self._rate_hz

    async def synthesize(self, text: str) -> AsyncIterator[bytes]:
        """Yield the sound of `text`, a sentence at a time; the first begins without silence.

        Raises:
            AdapterError: The engine failed.
        """
        if not any(character.isalnum() for character in text):
            return
        sentences = await self._worker.run(self._begin, text)
        is_first = True
        while (pcm := await self._worker.run(self._next, sentences)) is not None:
            if is_first:
                pcm = trim_leading_silence(pcm, self._rate_hz)
            if pcm:
                is_first = False
                yield pcm

    async def close(self) -> None:
        """Free the voice."""
        await self._worker.close()
        self._voice = None

    def _open(self) -> None:
        try:
            from piper import PiperVoice, SynthesisConfig
            from piper.config import PiperConfig
        except ImportError as exc:
            raise AdapterError(
                "engine-missing", "piper-tts is not installed", hint="pip install 'twin[voice]'"
            ) from exc
        self._path = _voice_file(self._path)
        session = open_session(self._path, threads=self._threads, spin=self._spin)
        try:
            config = json.loads(self._path.with_name(self._path.name + ".json").read_text(encoding="utf-8"))
            self._voice = PiperVoice(session=session, config=PiperConfig.from_dict(config))
        except (OSError, ValueError, KeyError) as exc:
            raise AdapterError(
                "model-missing", f"the settings beside {self._path.name} cannot be read: {exc}"
            ) from exc
        self._rate_hz = self._voice.config.sample_rate
        self._language = _language(config)
        self._config = SynthesisConfig(speaker_id=self._speaker, length_scale=self._length_scale)
        sentences = self._begin(WARM_UP)
        while self._next(sentences) is not None:
            pass

    def _begin(self, text: str) -> Iterator[Any]:
        sentences: Iterator[Any] = iter(self._voice.synthesize(text, self._config))
        return sentences

    def _next(self, sentences: Iterator[Any]) -> bytes | None:
        try:
            chunk = next(sentences, None)
        except onnx_errors() as exc:
            raise AdapterError("engine-failed", f"Piper failed: {exc}", retryable=True) from exc
        return None if chunk is None else bytes(chunk.audio_int16_bytes)


def _language(config: dict[str, Any]) -> str:
    """Return the language that a voice's settings name; old ones have espeak-ng's name of it only."""
    code = config.get("language", {}).get("code") or config.get("espeak", {}).get("voice", "")
    return str(code).replace("_", "-")


def _voice_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    voices = sorted(path.glob("*.onnx"))
    if not voices:
        raise AdapterError(
            "model-missing", f"there is no Piper voice in {path}", hint=f"twin models fetch {path.name}"
        )
    return voices[0]
