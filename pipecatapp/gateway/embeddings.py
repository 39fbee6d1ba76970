"""Embeddings in OpenAI's format, by the agent's own embedder.

It owns the request's and the answer's shape. There is one embedder; its names are those of `model_aliases`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from pipecatapp.errors import GatewayError
from pipecatapp.gateway.model_aliases import EMBEDDERS, check_model
from pipecatapp.gateway.request import text_field
from pipecatapp.ports import Embedder

MAX_TEXTS = 2048
"""Texts of one request, as OpenAI has it."""
CHARS_PER_TOKEN = 4
"""By which tokens are estimated, since an embedder tells none: a usual figure for English."""


async def embeddings(embedder: Embedder, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a vector for each text in `input`, as numbers or packed as base64 of little-endian floats.

    Raises:
        GatewayError: The request is wrong; the message says what is valid.
        AdapterError: The embedder failed.
    """
    texts = _texts(fields.get("input"))
    check_model(text_field(fields, "model"), embedder.name, EMBEDDERS)
    packing = text_field(fields, "encoding_format", "float")
    if packing not in ("float", "base64"):
        raise GatewayError("invalid_value", "encoding_format is float or base64.", param="encoding_format")
    if fields.get("dimensions") not in (None, embedder.dimensions):
        message = f"dimensions can only be {embedder.dimensions}, those of {embedder.name}."
        raise GatewayError("invalid_value", message, param="dimensions")
    vectors = await embedder.embed(texts)
    packed = [
        base64.b64encode(row.astype("<f4").tobytes()).decode() if packing == "base64" else row.tolist()
        for row in vectors
    ]
    tokens = sum(-(-len(text) // CHARS_PER_TOKEN) for text in texts)
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(packed)
        ],
        "model": embedder.name,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _texts(given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts:
        raise GatewayError("missing_required_parameter", "input is a text or a list of texts.", param="input")
    if not all(isinstance(text, str) for text in texts):
        raise GatewayError("invalid_type", "input must be texts; tokens are not taken.", param="input")
    if not all(text.strip() for text in texts):
        raise GatewayError("invalid_value", "A text in input is empty.", param="input")
    if len(texts) > MAX_TEXTS:
        raise GatewayError("invalid_value", f"input may have {MAX_TEXTS} texts.", param="input")
    return texts
