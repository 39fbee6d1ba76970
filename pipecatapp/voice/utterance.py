"""One utterance as the STT stage follows it: its sound, its level, and whether the user pauses.

    state     event     next
    ========  ========  ========
    speaking  quiet     paused
    paused    answered  eager
    paused    resumed   speaking
    eager     resumed   speaking
    ========  ========  ========

Every other pair stays as it is. Leaving `eager` withdraws the early transcript. The end of voice activity
ends an utterance in any state, and it keeps its own: what was heard at a pause may be the final transcript.
Not here: when the recogniser is asked (`stt_stage`), and the end of the turn (`endpointing`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

QUIET_RATIO = 0.06
"""A frame below this part of the utterance's recent peak level is a pause (-24 dB)."""
QUIET_FLOOR = 40.0
"""A frame below this RMS (of 32768) is a pause whatever came before."""
PEAK_HALF_LIFE_S = 3.0
"""After this time (seconds) the recent peak has fallen by half."""
RESUME_S = 0.05
"""Voice after which a pause is over (seconds)."""


class State(StrEnum):
    """Where the utterance stands."""

    SPEAKING = "speaking"
    """The user speaks."""
    PAUSED = "paused"
    """The level dropped; the recogniser is asked for what may be the final transcript."""
    EAGER = "eager"
    """It answered, and its early transcript was handed on."""

    @property
    def is_paused(self) -> bool:
        """Whether the user pauses."""
        return self is not State.SPEAKING


class Event(StrEnum):
    """What was heard of it."""

    QUIET = "quiet"
    """The level stayed low for the time of a pause."""
    RESUMED = "resumed"
    """Voice again, after a pause."""
    ANSWERED = "answered"
    """A transcript of everything up to the last voice is there."""


TRANSITIONS = {
    (State.SPEAKING, Event.QUIET): State.PAUSED,
    (State.PAUSED, Event.ANSWERED): State.EAGER,
    (State.PAUSED, Event.RESUMED): State.SPEAKING,
    (State.EAGER, Event.RESUMED): State.SPEAKING,
}


def after(state: State, event: Event) -> State:
    """Return where an utterance stands after an event."""
    return TRANSITIONS.get((state, event), state)


@dataclass(slots=True)
class LevelTracker:
    """How long the level has been that of a voice, or of a pause.

    Args:
        peak: The utterance's recent peak (RMS, of 32768).
        quiet_s: Since when it is quiet (seconds); 0 while there is voice.
        voiced_s: Since when there is voice (seconds); 0 while it is quiet.
    """

    peak: float = 0.0
    quiet_s: float = 0.0
    voiced_s: float = 0.0

    def feed(self, level: float, length_s: float) -> bool:
        """Take a frame of so many seconds; return whether it is voice."""
        self.peak = max(self.peak * 0.5 ** (length_s / PEAK_HALF_LIFE_S), level)
        if level > max(QUIET_FLOOR, QUIET_RATIO * self.peak):
            self.voiced_s += length_s
            self.quiet_s = 0.0
            return True
        self.quiet_s += length_s
        self.voiced_s = 0.0
        return False


@dataclass(slots=True, kw_only=True)
class Utterance:
    """One stretch of voice, from its pre-roll on.

    Args:
        pcm: Its sound.
        state: Where it stands.
        level: Its level.
        voiced_end: Where its last voice ends (bytes).
        heard: Its latest transcript.
        heard_bytes: How much of it that transcript is of (bytes); -1 for none.
    """

    pcm: bytearray = field(default_factory=bytearray)
    state: State = State.SPEAKING
    level: LevelTracker = field(default_factory=LevelTracker)
    voiced_end: int = 0
    heard: str = ""
    heard_bytes: int = -1

    def on(self, event: Event) -> None:
        """Note what was heard of it."""
        self.state = after(self.state, event)

    def is_voice_over(self, pause_s: float) -> bool:
        """Return whether a pause begins; `pause_s` is its length (seconds), 0 for never."""
        return bool(pause_s) and not self.state.is_paused and self.level.quiet_s >= pause_s

    def is_pause_over(self, *, is_voiced: bool) -> bool:
        """Return whether a pause ends; `is_voiced` is what voice activity detection says."""
        return self.state.is_paused and self.level.voiced_s >= RESUME_S and is_voiced
