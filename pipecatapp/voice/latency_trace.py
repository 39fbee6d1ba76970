"""Latency trace of a spoken turn: when each stage was reached.

It owns the times of one call's current turn; the stages are set by the services that pass them.
"""

from __future__ import annotations

from collections.abc import Callable

from pipecatapp.ports import Clock

STAGES = (
    "vad_stop",
    "transcript",
    "turn_end",
    "llm_first_token",
    "first_clause",
    "first_audio",
    "bot_started",
)
"""Stages in their usual order; with speculation the answer's stages come before `turn_end`."""


ANSWER_STAGES = ("llm_first_token", "first_clause", "first_audio")
"""Stages that a withdrawn speculation takes with it."""


class LatencyTrace:
    """Collects a turn's stages; they are reported as seconds after the user fell silent.

    Args:
        clock: Time.
        report: Called with stage to seconds when the first sound of the answer leaves.
    """

    def __init__(self, clock: Clock, report: Callable[[dict[str, float]], None]) -> None:
        self._clock = clock
        self._report = report
        self._speech_end_s: float | None = None
        self._reached_s: dict[str, float] = {}

    def user_started(self) -> None:
        """Begin anew: the user speaks."""
        self._speech_end_s = None
        self._reached_s = {}

    def speech_ended(self, ago_s: float) -> None:
        """Note that the user fell silent `ago_s` seconds ago (>= 0), which voice activity just told."""
        self._speech_end_s = self._clock.monotonic_s() - ago_s
        self._reached_s["vad_stop"] = self._clock.monotonic_s()

    def mark(self, stage: str) -> None:
        """Note that `stage` is reached now; only the first time counts."""
        self._reached_s.setdefault(stage, self._clock.monotonic_s())

    def withdraw_answer(self) -> None:
        """Forget the stages of an answer that was withdrawn."""
        for stage in ANSWER_STAGES:
            self._reached_s.pop(stage, None)

    def bot_started(self) -> None:
        """Report the turn; speech that answers no speech, such as the greeting, is not reported."""
        if self._speech_end_s is not None and "llm_first_token" in self._reached_s:
            self.mark("bot_started")
            end_s = self._speech_end_s
            self._report(
                {name: round(self._reached_s[name] - end_s, 4) for name in STAGES if name in self._reached_s}
            )
        self.user_started()
