"""Embeddings by any OpenAI-compatible server.

It owns `POST /embeddings` and unit length.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipecatapp.adapters.http.openai_api import OpenAiHttp
from pipecatapp.errors import AdapterError
from pipecatapp.ports import Vectors

PROBE = "hello"
"""Embedded once at the start, to learn how long a vector is."""


class OpenAiEmbedder:
    """Client of one `/embeddings`.

    Args:
        base_url: Ends in /v1.
        model: Name to ask the server for.
        api_key: Sent as a bearer token; "" for none.
        timeout_s: Longest wait for an answer (seconds, > 0).
    """

    def __init__(self, base_url: str, model: str, api_key: str = "", *, timeout_s: float = 30.0) -> None:
        self._model = model
        self._dimensions = 0
        self._http = OpenAiHttp(
            base_url, api_key, server_name=self.name, kind="embedder", timeout_s=timeout_s
        )

    @classmethod
    async def load(cls, base_url: str, model: str, api_key: str = "") -> OpenAiEmbedder:
        """Return it, knowing how long the server's vectors are; the arguments are the class's.

        Raises:
            AdapterError: The server cannot be reached or refused.
        """
        engine = cls(base_url, model, api_key)
        try:
            engine._dimensions = (await engine.embed([PROBE])).shape[1]
        except BaseException:
            await engine.close()
            raise
        return engine

    @property
    def name(self) -> str:
        """Engine and model."""
        return f"openai-compatible ({self._model})"

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        return self._dimensions

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one unit vector a text.

        Raises:
            AdapterError: `embedder-unreachable`, `embedder-timeout`, `embedder-refused` or
                `embedder-broke-off`.
        """
        self._http.check_open()
        if not texts:
            return np.zeros((0, self._dimensions), np.float32)
        # OpenAI refuses an empty text.
        body = {"model": self._model, "input": [text or " " for text in texts]}
        reply = await self._http.post_json("/embeddings", body)
        try:
            rows = sorted(reply["data"], key=lambda entry: entry["index"])
            vectors: Vectors = np.array([row["embedding"] for row in rows], np.float32)
        except (KeyError, TypeError, ValueError) as exc:
            raise AdapterError("embedder-refused", f"{self.name} answered without vectors") from exc
        if vectors.ndim != 2 or len(vectors) != len(texts):
            raise AdapterError(
                "embedder-refused", f"{self.name} answered {len(rows)} vectors, not {len(texts)}"
            )
        norms = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        unit: Vectors = vectors / norms
        return unit

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()
