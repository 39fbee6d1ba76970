"""RealtimeSTT passes the recogniser's suite where it is installed; elsewhere it says how to install it.

The extra brings torch, several GB, and is therefore not part of what the tests install.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pipecatapp.adapters.stt.realtimestt import RealtimeStt
from pipecatapp.errors import AdapterError
from testing.conformance.stt_suite import SttSuite, Utterance, recordings
from testing.e2e.engine_models import WHISPER, model

# The package's own dependencies warn about their syntax and their deprecations when they are imported.
pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("default")]

IS_INSTALLED = importlib.util.find_spec("RealtimeSTT") is not None
SPOKEN = ("know-france.flac", "tool-product.flac", "talk-tea.flac", "know-week.flac", "memory-city-told.flac")


@pytest.mark.skipif(IS_INSTALLED, reason="the extra is installed")
async def test_without_its_extra_it_says_what_to_install() -> None:
    with pytest.raises(AdapterError) as absence:
        await RealtimeStt.load(model(WHISPER))
    assert absence.value.code == "engine-missing"
    assert "twin[realtimestt]" in absence.value.hint


@pytest.mark.skipif(not IS_INSTALLED, reason="needs the extra: pip install 'twin[realtimestt]'")
class TestRealtimeStt(SttSuite):
    min_overlap = 0.95

    @pytest.fixture
    async def stt(self) -> AsyncIterator[RealtimeStt]:
        vad = os.environ.get("TWIN_TEST_SILERO_MODEL")
        engine = await RealtimeStt.load(model(WHISPER), vad_model=Path(vad) if vad else None)
        yield engine
        await engine.close()

    @pytest.fixture
    def spoken(self) -> list[Utterance]:
        return recordings(*SPOKEN)
