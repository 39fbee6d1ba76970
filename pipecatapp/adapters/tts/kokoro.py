"""Kokoro-82M: the best-sounding voice that runs on a CPU, at half of real time on two cores.

It owns the model, its voices and the silence they begin with; sentences are cut by who calls it.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipecatapp.adapters.audio.pcm import to_pcm, trim_leading_silence
from pipecatapp.adapters.host.onnx_session import onnx_errors, open_session
from pipecatapp.adapters.host.worker_thread import WorkerThread
from pipecatapp.errors import AdapterError

RATE_HZ = 24_000
"""What the model speaks at (hertz)."""
STYLE_SIZE = 256
"""Numbers in one style vector; a voice is 510 of them, one for each length of text."""
DEFAULT_VOICE = "af_heart"
"""The model's authors grade it best (VOICES.md of Kokoro-82M)."""
LANGUAGES = {
    **{"a": ("en-US", "en-us"), "b": ("en-GB", "en-gb"), "e": ("es-ES", "es"), "f": ("fr-FR", "fr-fr")},
    **{"h": ("hi-IN", "hi"), "i": ("it-IT", "it"), "j": ("ja-JP", "ja"), "p": ("pt-BR", "pt-br")},
    **{"z": ("zh-CN", "cmn")},
}
"""By the first letter of a voice's name (VOICES.md of Kokoro-82M): the language, and its espeak-ng name."""
WARM_UP = "This sentence warms the voice up."


class KokoroTts:
    """A Kokoro voice.

    Args:
        model_dir: Folder of one `.onnx` file and of `voices/NAME.bin`, each 510 x 256 float32.
        voice: Name of the voice; its first letter says its language (`LANGUAGES`).
        threads: CPU threads of one synthesis, > 0.
        speed: 0.5 to 2.
    """

    def __init__(
        self, model_dir: Path, *, voice: str = DEFAULT_VOICE, threads: int = 2, speed: float = 1.0
    ) -> None:
        self._model_dir = model_dir
        self._voice = voice
        self._threads = threads
        self._speed = speed
        self._worker = WorkerThread("text to speech")
        self._engine: Any = None
        self._style: Any = None

    @classmethod
    async def load(
        cls, model_dir: Path, *, voice: str = "", threads: int = 2, speed: float = 1.0
    ) -> KokoroTts:
        """Return it with its model in memory and warm; the arguments are the class's.

        Raises:
            AdapterError: The package, the model or the voice is missing or does not work.
        """
        engine = cls(model_dir, voice=voice or DEFAULT_VOICE, threads=threads, speed=speed)
        await engine._worker.open(engine._open)
        return engine

    @property
    def name(self) -> str:
        """Engine and voice."""
        return f"kokoro ({self._voice})"

    @property
    def language(self) -> str:
        """The voice's language."""
        return _languages(self._voice)[0]

    @property
    def sample_rate_hz(self) -> int:
        """Samples per second."""
        return RATE_HZ

    async def synthesize(self, text: str) -> AsyncGenerator[bytes, None]:
        """Yield the sound of `text`, whole: the model speaks a sentence at once.

        Raises:
            AdapterError: The engine failed.
        """
        if not any(character.isalnum() for character in text):
            return
        pcm = await self._worker.run(self._speak, text)
        if pcm:
            yield pcm

    async def close(self) -> None:
        """Free the model."""
        await self._worker.close()
        self._engine = self._style = None

    def _open(self) -> None:
        try:
            from kokoro_onnx import Kokoro
        except ImportError as exc:
            raise AdapterError(
                "engine-missing", "kokoro-onnx is not installed", hint="pip install 'twin[voice]'"
            ) from exc
        models = sorted(self._model_dir.glob("*.onnx"))
        if not models:
            raise AdapterError(
                "model-missing",
                f"there is no Kokoro model in {self._model_dir}",
                hint=f"twin models fetch {self._model_dir.name}",
            )
        self._style = _read_voice(self._model_dir / "voices", self._voice)
        session = open_session(models[0], threads=self._threads)
        try:
            with tempfile.TemporaryDirectory() as folder:
                # The library insists on reading a file of voices; ours is handed over at each synthesis.
                voices = Path(folder) / "voices.npy"
                np.save(voices, self._style[:1])
                self._engine = Kokoro.from_session(session, str(voices))
        except onnx_errors() as exc:
            raise AdapterError("engine-failed", f"Kokoro does not load: {exc}") from exc
        self._speak(WARM_UP)

    def _speak(self, text: str) -> bytes:
        try:
            samples, _ = self._engine.create(
                text, voice=self._style, speed=self._speed, lang=_languages(self._voice)[1]
            )
        except onnx_errors() as exc:
            raise AdapterError("engine-failed", f"Kokoro failed: {exc}", retryable=True) from exc
        return trim_leading_silence(to_pcm(samples), RATE_HZ)


def _languages(voice: str) -> tuple[str, str]:
    return LANGUAGES.get(voice[:1], LANGUAGES["a"])


def _read_voice(folder: Path, voice: str) -> npt.NDArray[np.float32]:
    """Return a voice's styles, shape (lengths, 1, 256)."""
    file = folder / f"{voice}.bin"
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in folder.glob("*.bin"))) or "none"
        raise AdapterError("voice-unknown", f"there is no Kokoro voice '{voice}'; known: {known}")
    return np.fromfile(file, dtype="<f4").reshape(-1, 1, STYLE_SIZE)
