"""Reads the settings and compares the engines that they name with the tables of engines.

Not here: the settings themselves (`settings`), which know no engine.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipecatapp.adapters.embed.engines import ENGINES as EMBEDDER_ENGINES
from pipecatapp.adapters.llm.engines import ENGINES as LLM_ENGINES
from pipecatapp.adapters.stt.engines import ENGINES as STT_ENGINES
from pipecatapp.adapters.tts.engines import ENGINES as TTS_ENGINES
from pipecatapp.settings import Settings, read_settings

AUTO = "auto"
"""The setting by which the machine decides."""

ENGINE_NAMES: Mapping[str, tuple[str, ...]] = {
    "STT_SERVICE": (AUTO, *STT_ENGINES),
    "TTS_SERVICE": (AUTO, *TTS_ENGINES),
    "LLM_SERVICE": (AUTO, *LLM_ENGINES),
    "EMBEDDER_SERVICE": (AUTO, *EMBEDDER_ENGINES),
}
"""Valid values of the settings that name an engine."""


def load_settings() -> Settings:
    """Read the environment.

    Raises:
        ConfigError: A variable has a wrong value; the message names it and what is valid.
    """
    return read_settings(ENGINE_NAMES)
