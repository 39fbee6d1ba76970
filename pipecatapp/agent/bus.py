"""The events of one session, numbered, kept for a while and handed to whoever listens.

It owns sequence numbers, times and replay. Who listens, and over which wire, is the web layer's and
the voice layer's business.
"""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

from pipecatapp.errors import SessionError
from pipecatapp.events import Event
from pipecatapp.ports import Clock

REPLAY_EVENTS = 2000
"""Events kept for a listener that comes late or falls behind: about twenty spoken turns."""

Wire = dict[str, Any]
"""An event as JSON-ready data, with `kind`, `seq`, `time` and `session_id`."""


class EventBus:
    """The numbered events of one session.

    Listeners read from one shared ring, each at its own place, so that a slow one costs no memory:
    when the ring has gone past its place it is dropped with an error. Call it from the event loop only.

    Args:
        session_id: Whose events they are.
        clock: Gives each event its time.
        replay_events: How many events are kept, > 0.
    """

    def __init__(self, session_id: str, clock: Clock, *, replay_events: int = REPLAY_EVENTS) -> None:
        self._session_id = session_id
        self._clock = clock
        self._ring: deque[Wire] = deque(maxlen=replay_events)
        self._last_seq = 0
        self._subscriptions: WeakSet[Subscription] = WeakSet()
        self._is_closed = False

    @property
    def last_seq(self) -> int:
        """Number of the newest event; 0 when there was none."""
        return self._last_seq

    @property
    def first_seq(self) -> int:
        """Number of the oldest event that can still be replayed; `last_seq` + 1 when there is none."""
        return self._last_seq - len(self._ring) + 1

    @property
    def subscriber_count(self) -> int:
        """How many listen now."""
        return len(self._subscriptions)

    @property
    def is_closed(self) -> bool:
        """Whether the session is over."""
        return self._is_closed

    def publish(self, event: Event) -> Wire:
        """Number `event`, keep it and wake every listener; return it as it goes out."""
        self._last_seq += 1
        wire = {
            **event.to_wire(),
            "seq": self._last_seq,
            "time": self._clock.wall_s(),
            "session_id": self._session_id,
        }
        self._ring.append(wire)
        self._wake()
        return wire

    def subscribe(self, after_seq: int = 0) -> Subscription:
        """Return an iterator over the events after `after_seq`, the kept ones first, then each as it comes.

        Events older than the ring are gone: the first `seq` then shows the gap. A number that this bus has
        not reached, as a client has after the process was restarted, replays everything.
        """
        start = after_seq if 0 <= after_seq <= self._last_seq else 0
        subscription = Subscription(self, max(start + 1, self.first_seq))
        self._subscriptions.add(subscription)
        return subscription

    def close(self) -> None:
        """End every subscription after what it has not yet read."""
        self._is_closed = True
        self._wake()

    def drop(self, subscription: Subscription) -> None:
        """Forget a listener."""
        self._subscriptions.discard(subscription)

    def read(self, seq: int) -> Wire | None:
        """Return event `seq`, or None when it has not happened yet.

        Raises:
            SessionError: The ring has gone past it.
        """
        if seq < self.first_seq:
            raise SessionError(
                "listener-too-slow",
                f"Events {seq} to {self.first_seq - 1} are gone: this listener fell too far behind.",
                hint="Connect again and resume from the last event you have.",
                status=409,
            )
        return self._ring[seq - self.first_seq] if seq <= self._last_seq else None

    def _wake(self) -> None:
        for subscription in list(self._subscriptions):
            subscription.wake()


class Subscription:
    """One listener's place in a bus: an async iterator, and a context manager that ends it.

    A listener that is dropped without `close` is forgotten with its last reference.
    """

    def __init__(self, bus: EventBus, next_seq: int) -> None:
        self._bus = bus
        self._next_seq = next_seq
        self._news = asyncio.Event()
        self._is_closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Wire:
        """Return the next event.

        Raises:
            SessionError: This listener fell behind by more than the bus keeps.
        """
        while not self._is_closed:
            self._news.clear()
            try:
                wire = self._bus.read(self._next_seq)
            except SessionError:
                self.close()
                raise
            if wire is not None:
                self._next_seq += 1
                return wire
            if self._bus.is_closed:
                self.close()
                break
            await self._news.wait()
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def wake(self) -> None:
        """Look again: something was published or the bus was closed."""
        self._news.set()

    def close(self) -> None:
        """Stop listening; a waiting `__anext__` ends."""
        self._is_closed = True
        self._bus.drop(self)
        self._news.set()
