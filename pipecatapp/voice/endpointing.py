"""Endpointing: decides that a turn is over, with the reply prepared while it is still awaited.

It owns when an answer is begun in advance, confirmed or withdrawn; waiting itself is pipecat's.

A pause yields an early transcript, and the end of voice activity a final one; each begins a
speculative answer. If the user goes on it is withdrawn; if the wait passes and the words are the
same, the answer is confirmed and its sound is ready.
"""

from __future__ import annotations

from typing import Any

from pipecat.audio.turn.smart_turn.base_smart_turn import SmartTurnParams
from pipecat.frames.frames import (
    EagerEndOfTurnCancelFrame,
    EagerTranscriptionFrame,
    Frame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
)
from pipecat.turns.types import ProcessFrameResult, UserTurnSpeculation
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy, TurnAnalyzerUserTurnStopStrategy
from pipecat.turns.user_stop.base_user_turn_stop_strategy import BaseUserTurnStopStrategy
from pipecat.turns.user_stop.eager_match_policy import NormalizedMatch

SMART_FALLBACK_S = 1.0
"""Longest wait of the turn model for a sentence that sounds unfinished (seconds)."""


class _Speculation(BaseUserTurnStopStrategy):
    """Adds speculation to a strategy that decides by itself when the turn is over."""

    def __init__(self, *, speculates: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._speculates = speculates
        self._match = NormalizedMatch()
        self._guess: str | None = None
        self._said = ""

    async def process_frame(self, frame: Frame) -> ProcessFrameResult:
        """Begin, keep or withdraw a speculation before the strategy sees `frame`."""
        if isinstance(frame, VADUserStartedSpeakingFrame):
            await self._withdraw()
        elif isinstance(frame, EagerTranscriptionFrame):
            await self._speculate(f"{self._said} {frame.text}".strip())
        elif isinstance(frame, EagerEndOfTurnCancelFrame):
            # The frame itself withdraws the answer on its way through the pipeline.
            self._guess = None
        elif isinstance(frame, TranscriptionFrame):
            self._said = f"{self._said} {frame.text}".strip()
            await self._speculate(self._said)
        return await super().process_frame(frame) or ProcessFrameResult.CONTINUE

    async def trigger_user_turn_stopped(self, *, enable_user_speaking_frames: bool | None = None) -> None:
        """End the turn: confirm the speculation when it answers these words, else answer anew."""
        guess, self._guess = self._guess, None
        if guess is not None and self._match.matches(guess, self._said):
            self._said = ""
            await self.trigger_user_turn_finalized(
                enable_user_speaking_frames=enable_user_speaking_frames, confirms_speculation=True
            )
            return
        if guess is not None:
            await self.trigger_user_turn_speculation_cancelled()
        self._said = ""
        await super().trigger_user_turn_stopped(enable_user_speaking_frames=enable_user_speaking_frames)

    async def handle_user_turn_stopped(self) -> None:
        """Forget the turn, whoever ended it."""
        await self._withdraw()
        self._said = ""
        await super().handle_user_turn_stopped()

    async def handle_user_turn_started(self) -> None:
        """Begin a turn with nothing said."""
        self._said = ""
        await super().handle_user_turn_started()

    async def _speculate(self, text: str) -> None:
        if not self._speculates or not text:
            return
        if self._guess is not None:
            if self._match.matches(self._guess, text):
                return
            await self._withdraw()
        self._guess = text
        await self.trigger_user_turn_inference_triggered(speculation=UserTurnSpeculation(text=text))

    async def _withdraw(self) -> None:
        if self._guess is not None:
            self._guess = None
            await self.trigger_user_turn_speculation_cancelled()


class TimeoutEndpointing(_Speculation, SpeechTimeoutUserTurnStopStrategy):
    """The turn is over when silence has lasted."""


class SmartTurnEndpointing(_Speculation, TurnAnalyzerUserTurnStopStrategy):
    """The turn is over when the turn model says so, or its fallback has passed."""


def endpointing_strategy(kind: str, *, timeout_s: float, speculates: bool) -> BaseUserTurnStopStrategy:
    """Return the strategy for `kind`, "timeout" or "smart".

    Args:
        kind: Which decision.
        timeout_s: Silence after voice activity ended that ends the turn (seconds), for "timeout".
        speculates: Whether answers are prepared in advance.
    """
    if kind == "smart":
        from pipecat.audio.turn.smart_turn.local_smart_turn_v3 import LocalSmartTurnAnalyzerV3

        analyzer = LocalSmartTurnAnalyzerV3(params=SmartTurnParams(stop_secs=SMART_FALLBACK_S))
        return SmartTurnEndpointing(speculates=speculates, turn_analyzer=analyzer)
    return TimeoutEndpointing(speculates=speculates, user_speech_timeout=timeout_s)
