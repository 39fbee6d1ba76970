"""RealtimeSTT's recorder, fed by us instead of a microphone.

It owns the recorder and hands it one utterance at a time; where an utterance ends is decided by who
calls it, so the recorder's own voice detection starts and stops nothing.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from pipecatapp.adapters.audio.pcm import to_float
from pipecatapp.adapters.host.worker_thread import WorkerThread
from pipecatapp.adapters.stt.chunking import chunks
from pipecatapp.adapters.stt.whisper_model import SHORTEST_S, SILENCE_LEVEL, strip_noise_tags
from pipecatapp.errors import AdapterError
from pipecatapp.ports import Transcript
from pipecatapp.units import BYTES_PER_SAMPLE, SPEECH_RATE_HZ

DRAIN_TIMEOUT_S = 20.0
"""Longest wait for the recorder to take an utterance in (seconds); it takes milliseconds a second."""
TAIL_S = 0.1
"""Silence after an utterance (seconds): the recorder takes whole blocks of 32 ms only."""
INSTALL_HINT = "pip install 'twin[realtimestt]' (several GB: it needs torch)"


class RealtimeStt:
    """A RealtimeSTT recorder on a CTranslate2 Whisper model.

    Args:
        model_dir: The Whisper model's folder.
        language: ISO 639-1 code of what is spoken.
        vad_model: Silero's ONNX file; None takes the one that Pipecat ships.
    """

    def __init__(self, model_dir: Path, *, language: str = "en", vad_model: Path | None = None) -> None:
        self._model_dir = model_dir
        self._language = language
        self._vad_model = vad_model
        self._worker = WorkerThread("speech to text")
        self._recorder: Any = None

    @classmethod
    async def load(
        cls, model_dir: Path, *, language: str = "en", vad_model: Path | None = None
    ) -> RealtimeStt:
        """Return it with its models in memory; the arguments are the class's.

        Raises:
            AdapterError: The package or a model is missing or does not work.
        """
        engine = cls(model_dir, language=language, vad_model=vad_model)
        try:
            await engine._worker.run(engine._open)
        except BaseException:
            await engine.close()
            raise
        return engine

    @property
    def name(self) -> str:
        """Engine and model."""
        return f"RealtimeSTT ({self._model_dir.name})"

    async def transcribe(self, pcm: bytes, *, final: bool) -> Transcript:
        """Recognise an utterance so far, of any length.

        Raises:
            AdapterError: The engine failed.
        """
        return Transcript(await self._worker.run(self._transcribe, pcm))

    async def close(self) -> None:
        """Stop the recorder's threads and free its models."""
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            await self._worker.run(recorder.shutdown)
        await self._worker.close()

    def _open(self) -> None:
        if importlib.util.find_spec("RealtimeSTT") is None:
            raise AdapterError("engine-missing", "RealtimeSTT is not installed", hint=INSTALL_HINT)
        if not (self._model_dir / "model.bin").is_file():
            raise AdapterError(
                "model-missing",
                f"there is no Whisper model in {self._model_dir}",
                hint=f"twin models fetch {self._model_dir.name}",
            )
        try:
            from RealtimeSTT import AudioToTextRecorder

            self._recorder = AudioToTextRecorder(
                use_microphone=False,
                spinner=False,
                no_log_file=True,
                model=str(self._model_dir),
                language=self._language,
                device="cpu",
                compute_type="int8",
                beam_size=1,
                faster_whisper_vad_filter=False,
                silero_backend="raw_onnx",
                silero_onnx_model_path=str(self._vad_model or _pipecat_vad_model()),
                min_length_of_recording=0,
                min_gap_between_recordings=0,
                # An utterance arrives at once, which the recorder would take for a backlog and drop.
                handle_buffer_overflow=False,
            )
        except (ImportError, RuntimeError, ValueError, OSError) as exc:
            raise AdapterError(
                "engine-failed", f"RealtimeSTT does not start: {exc}", hint=INSTALL_HINT
            ) from exc

    def _transcribe(self, pcm: bytes) -> str:
        samples = to_float(pcm)
        if len(samples) < SHORTEST_S * SPEECH_RATE_HZ or np.abs(samples).max() < SILENCE_LEVEL:
            return ""
        texts = [
            self._record(pcm[start * BYTES_PER_SAMPLE : end * BYTES_PER_SAMPLE])
            for start, end in chunks(samples)
        ]
        return " ".join(text for text in texts if text)

    def _record(self, pcm: bytes) -> str:
        """Return the text of one recording, which is short enough for Whisper's window."""
        recorder = self._recorder
        try:
            recorder.start()
            recorder.feed_audio(pcm + bytes(BYTES_PER_SAMPLE * round(TAIL_S * SPEECH_RATE_HZ)))
            if not recorder.drain_audio_input(timeout=DRAIN_TIMEOUT_S):
                raise AdapterError("engine-failed", "RealtimeSTT takes no audio in", retryable=True)
            recorder.stop()
            return strip_noise_tags(str(recorder.text() or ""))
        except (RuntimeError, ValueError, OSError) as exc:
            raise AdapterError("engine-failed", f"RealtimeSTT failed: {exc}", retryable=True) from exc
        finally:
            recorder.clear_audio_queue()


def _pipecat_vad_model() -> Path:
    """Return Silero's model in Pipecat's package, found without importing it."""
    spec = importlib.util.find_spec("pipecat")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        model = Path(folder) / "audio" / "vad" / "data" / "silero_vad.onnx"
        if model.is_file():
            return model
    raise AdapterError(
        "model-missing", "Silero's model, which Pipecat ships, is not here", hint="pip install 'twin[voice]'"
    )
