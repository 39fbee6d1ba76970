"""Where the engines' tests find models and binaries.

It owns the lookup; what is missing is a failure with the command that brings it, never a skip.
"""

from __future__ import annotations

import os
from pathlib import Path

CACHE = Path(os.environ.get("TWIN_CACHE_DIR", str(Path.home() / ".cache" / "twin")))
MODELS = Path(os.environ.get("TWIN_MODELS_DIR", str(CACHE / "models")))

WHISPER = "faster-whisper-tiny.en"
PIPER = "piper-en_US-joe-medium"
KOKORO = "kokoro"
MINILM = "minilm"
SMOLLM = "SmolLM2-135M-Instruct.Q4_1.gguf"
QWEN = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
QWEN_LARGE = "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"
"""Not among what the tests need; benchmarks take it where it is."""


def model(name: str) -> Path:
    """Return a model's file or folder."""
    path = MODELS / name
    assert path.exists(), f"there is no {path}; bring it with: twin models fetch"
    return path


def llama_binary(name: str = "llama-server") -> Path:
    """Return a program of the newest llama.cpp that was built on or fetched to this machine."""
    found = sorted((CACHE / "artifacts" / "llama.cpp").glob(f"*/bin/{name}"), key=lambda p: p.stat().st_mtime)
    assert found, f"there is no {name} below {CACHE}; bring it with: twin artifacts fetch llama.cpp"
    return found[-1]
