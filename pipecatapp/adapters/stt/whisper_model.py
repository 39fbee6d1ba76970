"""What the engines that decode with Whisper share: loading the model, levels of silence, names for noise.

Not here: decoding, which each engine does its own way.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pipecatapp.errors import AdapterError

SHORTEST_S = 0.1
"""Less than this is no word (seconds)."""
SILENCE_LEVEL = 0.003
"""Peak below which there is nothing to hear: -50 dB of full scale."""
_NOT_SPEECH = re.compile(r"[\[(*♪][^\])*♪]*[\])*♪]")
"""What Whisper writes for noise: [BLANK_AUDIO], (music), *coughs*."""


def open_whisper(model_dir: Path, threads: int) -> Any:
    """Return a `faster_whisper.WhisperModel` read from `model_dir`.

    Raises:
        AdapterError: The package or the model is missing or does not work.
    """
    try:
        from faster_whisper import WhisperModel
    except ImportError as exc:
        raise AdapterError(
            "engine-missing", "faster-whisper is not installed", hint="pip install 'twin[voice]'"
        ) from exc
    if not (model_dir / "model.bin").is_file():
        raise AdapterError(
            "model-missing",
            f"there is no Whisper model in {model_dir}",
            hint=f"twin models fetch {model_dir.name}",
        )
    try:
        return WhisperModel(
            str(model_dir), device="cpu", compute_type="int8", cpu_threads=threads, local_files_only=True
        )
    except (RuntimeError, ValueError, OSError) as exc:
        raise AdapterError("engine-failed", f"Whisper does not load: {exc}") from exc


def strip_noise_tags(text: str) -> str:
    """Return `text` without Whisper's names for noise; "" when no word is left."""
    kept = " ".join(_NOT_SPEECH.sub(" ", text).split())
    return kept if re.search(r"\w", kept) else ""
