"""MiniLM sentence embeddings on ONNX Runtime, without torch.

It owns tokenising, mean pooling and unit length; what the vectors are for is `memory`'s and the
router's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipecatapp.adapters.host.onnx_session import onnx_errors, open_session
from pipecatapp.adapters.host.worker_thread import WorkerThread
from pipecatapp.errors import AdapterError
from pipecatapp.ports import Vectors

MAX_TOKENS = 256
"""What the model was trained on (model card of all-MiniLM-L6-v2)."""
BATCH = 16
"""Texts in one run; more gains nothing on two cores and holds the thread."""
DIMENSIONS = 384
"""Hidden size of MiniLM-L6."""


class MiniLmEmbedder:
    """All-MiniLM-L6-v2.

    Args:
        model_dir: Folder of `model.onnx` and `tokenizer.json`.
        threads: CPU threads, > 0.
    """

    def __init__(self, model_dir: Path, *, threads: int = 1) -> None:
        self._model_dir = model_dir
        self._threads = threads
        self._worker = WorkerThread("embeddings")
        self._session: Any = None
        self._tokenizer: Any = None
        self._inputs: frozenset[str] = frozenset()

    @classmethod
    async def load(cls, model_dir: Path, *, threads: int = 1) -> MiniLmEmbedder:
        """Return it with its model in memory and warm; the arguments are the class's.

        Raises:
            AdapterError: The package or the model is missing or does not work.
        """
        engine = cls(model_dir, threads=threads)
        await engine._worker.open(engine._open)
        return engine

    @property
    def name(self) -> str:
        """Engine and model."""
        return "all-MiniLM-L6-v2"

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        return DIMENSIONS

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one unit vector a text; of a long text the first 256 tokens count.

        Raises:
            AdapterError: The engine failed.
        """
        parts = [
            await self._worker.run(self._embed, texts[start : start + BATCH])
            for start in range(0, len(texts), BATCH)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, DIMENSIONS), np.float32)

    async def close(self) -> None:
        """Free the model."""
        await self._worker.close()
        self._session = self._tokenizer = None

    def _open(self) -> None:
        from tokenizers import Tokenizer

        self._session = open_session(self._model_dir / "model.onnx", threads=self._threads)
        self._inputs = frozenset(port.name for port in self._session.get_inputs())
        file = self._model_dir / "tokenizer.json"
        if not file.is_file():
            raise AdapterError(
                "model-missing", f"there is no {file}", hint=f"twin models fetch {self._model_dir.name}"
            )
        self._tokenizer = Tokenizer.from_file(str(file))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.enable_padding()
        width = self._embed(["warm up"]).shape[1]
        if width != DIMENSIONS:
            raise AdapterError(
                "engine-failed", f"{self._model_dir} gives {width} dimensions, not {DIMENSIONS}"
            )

    def _embed(self, texts: Sequence[str]) -> Vectors:
        encoded = self._tokenizer.encode_batch(list(texts))
        mask = np.array([entry.attention_mask for entry in encoded], np.int64)
        feeds = {
            "input_ids": np.array([entry.ids for entry in encoded], np.int64),
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(mask),
        }
        try:
            output = self._session.run(None, {k: v for k, v in feeds.items() if k in self._inputs})[0]
        except onnx_errors() as exc:
            raise AdapterError("engine-failed", f"MiniLM failed: {exc}", retryable=True) from exc
        if output.ndim == 3:
            weights = mask[..., None].astype(np.float32)
            output = (output * weights).sum(axis=1) / weights.sum(axis=1)
        vectors: Vectors = (output / np.linalg.norm(output, axis=1, keepdims=True)).astype(np.float32)
        return vectors
