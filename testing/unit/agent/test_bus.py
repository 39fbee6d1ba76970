"""The bus numbers events, replays them, and lets go of listeners that leave or fall behind."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence

import pytest

from pipecatapp.agent.bus import EventBus, Subscription
from pipecatapp.errors import SessionError
from pipecatapp.events import BotStartedSpeaking, UserTranscript
from testing.fakes.fake_clock import FakeClock

pytestmark = pytest.mark.unit


def make_bus(replay_events: int = 5) -> EventBus:
    return EventBus("s", FakeClock(100.0), replay_events=replay_events)


def publish(bus: EventBus, texts: Sequence[str]) -> None:
    for text in texts:
        bus.publish(UserTranscript(text, final=False))


async def read(subscription: Subscription, count: int) -> list[str]:
    return [(await anext(subscription))["text"] for _ in range(count)]


async def test_events_carry_number_time_and_session() -> None:
    bus = make_bus()
    bus.publish(BotStartedSpeaking())
    wire = bus.publish(UserTranscript("hi", final=True))
    assert wire == {
        "kind": "user_transcript",
        "text": "hi",
        "final": True,
        "seq": 2,
        "time": 100.0,
        "session_id": "s",
    }


async def test_a_listener_gets_kept_events_then_new_ones_in_order() -> None:
    bus = make_bus()
    publish(bus, "ab")
    subscription = bus.subscribe()
    assert await read(subscription, 2) == ["a", "b"]
    waiting = asyncio.create_task(read(subscription, 2))
    await asyncio.sleep(0)
    publish(bus, "cd")
    assert await waiting == ["c", "d"]


async def test_a_listener_resumes_after_the_event_it_has() -> None:
    bus = make_bus()
    publish(bus, "abcd")
    assert await read(bus.subscribe(after_seq=2), 2) == ["c", "d"]


async def test_a_number_of_another_life_replays_everything() -> None:
    bus = make_bus()
    publish(bus, "ab")
    assert await read(bus.subscribe(after_seq=70), 2) == ["a", "b"]


async def test_a_gap_shows_in_the_numbers() -> None:
    bus = make_bus(replay_events=2)
    publish(bus, "abcde")
    assert (await anext(bus.subscribe(after_seq=1)))["seq"] == 4


async def test_a_slow_listener_is_dropped_with_an_error() -> None:
    bus = make_bus(replay_events=3)
    subscription = bus.subscribe()
    publish(bus, "abcdefgh")
    with pytest.raises(SessionError, match="fell too far behind"):
        await anext(subscription)
    assert bus.subscriber_count == 0
    with pytest.raises(StopAsyncIteration):
        await anext(subscription)


async def test_listeners_do_not_disturb_each_other() -> None:
    bus = make_bus()
    quick, slow = bus.subscribe(), bus.subscribe()
    publish(bus, "abc")
    assert await read(quick, 3) == ["a", "b", "c"]
    assert await read(slow, 1) == ["a"]


async def test_a_listener_that_leaves_is_forgotten_however_it_leaves() -> None:
    bus = make_bus()
    async with bus.subscribe():
        assert bus.subscriber_count == 1
    waiting = asyncio.create_task(read(bus.subscribe(), 1))
    await asyncio.sleep(0)
    assert bus.subscriber_count == 1
    waiting.cancel()
    await asyncio.wait({waiting})
    del waiting
    gc.collect()
    assert bus.subscriber_count == 0


async def test_closing_ends_listeners_after_what_they_have_not_read() -> None:
    bus = make_bus()
    publish(bus, "ab")
    subscription = bus.subscribe()
    bus.close()
    assert [event["text"] async for event in subscription] == ["a", "b"]
    assert bus.subscriber_count == 0


async def test_closing_a_subscription_wakes_its_reader() -> None:
    subscription = make_bus().subscribe()

    async def read_all() -> list[object]:
        return [event async for event in subscription]

    waiting = asyncio.create_task(read_all())
    await asyncio.sleep(0)
    subscription.close()
    assert await waiting == []
