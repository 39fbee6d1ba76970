"""Voice calls over WebRTC, as the web layer sees them.

Not here: the pipeline of a call (`pipecatapp.voice`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOffer:
    """A browser's wish to talk, in SmallWebRTC's wire format."""

    sdp: str
    type: str
    pc_id: str = ""
    restart_pc: bool = False
    session_id: str = ""


@dataclass(frozen=True, slots=True)
class CallAnswer:
    """Our side of the call."""

    sdp: str
    type: str
    pc_id: str
    session_id: str


@dataclass(frozen=True, slots=True)
class IceCandidate:
    """One address at which the browser may be reached."""

    candidate: str
    sdp_mid: str
    sdp_mline_index: int


@runtime_checkable
class CallManager(Protocol):
    """Voice, as the web layer sees it."""

    async def offer(self, offer: CallOffer) -> CallAnswer:
        """Take or renew a call.

        Raises:
            VoiceError: Malformed SDP (422), or busy (503).
        """
        ...

    async def add_candidates(self, pc_id: str, candidates: Sequence[IceCandidate]) -> None:
        """Add addresses to a call.

        Raises:
            VoiceError: There is no such call (404).
        """
        ...

    def status(self) -> Mapping[str, Any]:
        """Return calls under way and the limit."""
        ...

    async def say(self, session_id: str, text: str) -> bool:
        """Hand typed `text` to the session's call as its next turn; False when it has no call."""
        ...

    async def close(self) -> None:
        """End every call; clients are told."""
        ...
