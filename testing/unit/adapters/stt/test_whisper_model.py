"""What Whisper writes for noise."""

from __future__ import annotations

import pytest

from pipecatapp.adapters.stt.whisper_model import strip_noise_tags

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("noise", ["[BLANK_AUDIO]", "(music)", "♪ ♪", "*coughs*", ". . .", "  "])
def test_noise_has_no_words(noise: str) -> None:
    assert strip_noise_tags(noise) == ""
