"""Model names by which a program may ask for the agent's own engines.

It owns the list. OpenAI's own names mean the house's, because most programs send one and cannot be told
otherwise; any other name that nothing here has is refused, so that nobody takes one voice for another.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipecatapp.errors import GatewayError
from pipecatapp.gateway.upstreams import DEFAULT

RECOGNISERS = ("whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe")
SPEECH_MODELS = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")
VOICES = (
    *(
        "alloy",
        "ash",
        "ballad",
        "cedar",
        "coral",
        "echo",
        "fable",
        "marin",
        "nova",
        "onyx",
        "sage",
        "shimmer",
    ),
    "verse",
)
EMBEDDERS = ("text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002")


def check_model(name: str, own: str, known: Sequence[str]) -> None:
    """Check that a model is one that there is.

    Args:
        name: What the program asks for; "" for nothing.
        own: What the engine calls itself, such as `piper (en_US-joe-medium)`.
        known: OpenAI's names for one.

    Raises:
        GatewayError: `model_not_found`; the message lists those there are.
    """
    valid = _names(own, known)
    if name and name not in valid:
        message = f"There is no model {name!r} here; valid: {', '.join(valid)}"
        raise GatewayError("model_not_found", message, param="model", status=404)


def check_voice(name: str, own: str) -> None:
    """Check that a voice is one that there is.

    Args:
        name: What the program asks for; "" for nothing.
        own: What the engine calls itself.

    Raises:
        GatewayError: `invalid_value`; the message lists those there are.
    """
    valid = _names(own, VOICES)
    if name and name not in valid:
        message = f"There is no voice {name!r} here; valid: {', '.join(valid)}"
        raise GatewayError("invalid_value", message, param="voice")


def _names(own: str, known: Sequence[str]) -> Sequence[str]:
    """Return the names that mean the house's own: the engine's, with and without the engine, and OpenAI's."""
    _, _, inner = own.partition(" (")
    return list(dict.fromkeys((DEFAULT, *filter(None, (inner.rstrip(")"), own)), *known)))
