"""The recordings say what their index says."""

from __future__ import annotations

import pytest
import soundfile
import yaml

from testing.e2e.sound import RECORDINGS, load_recording
from testing.e2e.words import overlap, transcribe

pytestmark = pytest.mark.e2e

ENTRIES = yaml.safe_load((RECORDINGS / "index.yaml").read_text())["recordings"]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["file"])
def test_a_recording_says_its_text(entry: dict[str, str]) -> None:
    heard = transcribe(load_recording(entry["file"].removesuffix(".flac")))

    assert overlap(entry["text"], heard) >= 0.8, heard


def test_every_recording_is_in_the_index_and_has_the_stated_form() -> None:
    files = {path.name for path in RECORDINGS.glob("*.flac")}
    assert files == {entry["file"] for entry in ENTRIES}
    for name in files:
        info = soundfile.info(RECORDINGS / name)
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
