"""Where long speech is cut into chunks."""

from __future__ import annotations

import numpy as np
import pytest

from pipecatapp.adapters.stt.chunking import CHUNK_S, chunk_boundary, chunks
from pipecatapp.units import SPEECH_RATE_HZ

pytestmark = pytest.mark.unit


def test_a_long_utterance_is_cut_where_it_is_quiet_and_stays_cut_as_it_grows() -> None:
    samples = np.sin(np.arange(70 * SPEECH_RATE_HZ) * 0.05).astype(np.float32)
    quiet_s = 23.5
    samples[round(quiet_s * SPEECH_RATE_HZ) : round((quiet_s + 0.4) * SPEECH_RATE_HZ)] = 0
    ends = {chunk_boundary(samples[: seconds * SPEECH_RATE_HZ], 0) for seconds in (29, 40, 70)}
    assert len(ends) == 1
    assert quiet_s < ends.pop() / SPEECH_RATE_HZ < quiet_s + 0.4


def test_pieces_cover_everything_and_fit_the_window() -> None:
    samples = np.random.default_rng(0).normal(size=100 * SPEECH_RATE_HZ).astype(np.float32)
    pieces = [end - start for start, end in chunks(samples)]
    assert sum(pieces) == len(samples)
    assert max(pieces) <= CHUNK_S * SPEECH_RATE_HZ
