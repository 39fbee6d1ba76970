"""The embedders that EMBEDDER_SERVICE may name; `auto` takes the first default that runs here.

An engine is one entry and one adapter beside this file. Importing the table loads no engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipecatapp.adapters.engine import Default, EngineOptions, LoadableEngine, NativeTrial
from pipecatapp.ports import Embedder


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderEngine(LoadableEngine[Embedder]):
    """An embedder."""


async def _minilm(options: EngineOptions) -> Embedder:
    from pipecatapp.adapters.embed.minilm import MiniLmEmbedder

    return await MiniLmEmbedder.load(options.model, threads=options.threads)


async def _openai(options: EngineOptions) -> Embedder:
    from pipecatapp.adapters.embed.openai import OpenAiEmbedder

    name = options.model_name or "text-embedding-3-small"
    return await OpenAiEmbedder.load(options.base_url, name, options.api_key)


ENGINES: Mapping[str, EmbedderEngine] = {
    "minilm": EmbedderEngine(
        label="MiniLM",
        title="all-MiniLM-L6-v2 int8 on ONNX Runtime",
        default=Default.ALWAYS,
        models="minilm",
        trial=NativeTrial(
            name="minilm",
            label="MiniLM (ONNX Runtime)",
            part="memory",
            libraries={"onnxruntime": "onnxruntime", "tokenizers": "tokenizers"},
        ),
        load=_minilm,
    ),
    "openai": EmbedderEngine(
        label="the server",
        title="any `/embeddings`",
        needs_server=True,
        load=_openai,
    ),
}
"""By the names of EMBEDDER_SERVICE, in order of preference."""
