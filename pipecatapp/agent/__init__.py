"""The conversation without sound: text in, events out.

It owns sessions, turns and the bus; how text became sound is the voice layer's.
"""

from __future__ import annotations

from pipecatapp.agent.bus import EventBus, Subscription
from pipecatapp.agent.service import ChatReply, TwinService
from pipecatapp.agent.session import RunWorkflow, Session
from pipecatapp.agent.turn import Turn

__all__ = ["ChatReply", "EventBus", "RunWorkflow", "Session", "Subscription", "Turn", "TwinService"]
