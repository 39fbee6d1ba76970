"""Voice activity detection by Silero, with its last confidence open to the STT stage.

It owns the analyser and what counts as voice; the end of a turn is decided in `endpointing`.
"""

from __future__ import annotations

import numpy as np
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADParams

VOICED_CONFIDENCE = 0.5
"""Silero's own threshold between voice and none (0 to 1)."""


class SileroVad(SileroVADAnalyzer):
    """Silero that remembers its last judgement.

    Args:
        start_s: Voice after which activity has begun (seconds).
        stop_s: Silence after which it has ended (seconds).
    """

    def __init__(self, *, start_s: float, stop_s: float) -> None:
        super().__init__(params=VADParams(start_secs=start_s, stop_secs=stop_s))
        self.last_confidence = 0.0

    def voice_confidence(self, buffer: bytes) -> float:
        """Judge one window (32 ms) and remember the judgement, 0 to 1."""
        # Silero's ONNX model answers with an array of one element, and with 0 for no audio.
        self.last_confidence = float(np.ravel(super().voice_confidence(buffer))[0])
        return self.last_confidence

    @property
    def is_voiced(self) -> bool:
        """Whether the last window held voice."""
        return self.last_confidence >= VOICED_CONFIDENCE
