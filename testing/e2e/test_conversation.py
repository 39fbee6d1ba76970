"""A conversation by voice with the real agent: heard right, answered in words that can be understood.

It speaks recordings through a real WebRTC client. With TWIN_URL it talks to an agent that already runs; the
tests that restart the agent always start their own.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from testing.e2e.client import Exchange, calling
from testing.e2e.service import Service
from testing.e2e.words import overlap, transcribe

pytestmark = pytest.mark.e2e

HEARD_OVERLAP = 0.8
SPOKEN_OVERLAP = 0.7
LISTENED_S = 3.0
"""How much of a story is listened to before it is interrupted (seconds)."""
BARGE_IN_LIMIT_S = 1.2
"""From the first sound of the user to silence: about 0.55 s of it are voice activity and the network."""


async def assert_spoken_as_written(*exchanges: Exchange) -> None:
    written = " ".join(exchange.reply for exchange in exchanges)
    spoken = " ".join([await asyncio.to_thread(transcribe, exchange.audio) for exchange in exchanges])
    share = overlap(written, spoken)
    assert share >= SPOKEN_OVERLAP, f"written: {written!r}, spoken: {spoken!r}"


async def test_three_questions_are_heard_right_and_answered_in_words(base_url: str) -> None:
    async with calling(base_url) as client:
        await asyncio.sleep(1)
        await client.settle()
        capital = await client.ask("know-france")
        product = await client.ask("tool-product")
        week = await client.ask("know-week")

    assert overlap("What is the capital of France?", capital.heard) >= HEARD_OVERLAP, capital.heard
    assert overlap("What is 17 times 23?", product.heard) >= HEARD_OVERLAP, product.heard
    assert overlap("How many days are there in a week?", week.heard) >= HEARD_OVERLAP, week.heard
    assert "paris" in capital.reply.lower()
    assert "391" in product.reply
    assert "seven" in week.reply.lower() or "7" in week.reply
    await assert_spoken_as_written(capital, product, week)
    assert not any(exchange.was_cut_early for exchange in (capital, product, week))


async def test_arithmetic_is_done_by_a_tool(base_url: str) -> None:
    async with calling(base_url) as client:
        await asyncio.sleep(1)
        await client.settle()
        exchange = await client.ask("tool-product")
        finished = [event for event in client.events if event["kind"] == "tool_finished"]

    assert "391" in exchange.reply
    assert [event["ok"] for event in finished] == [True]
    assert "391" in finished[0]["result"]


async def test_a_second_turn_uses_what_the_first_said(base_url: str) -> None:
    async with calling(base_url) as client:
        await asyncio.sleep(1)
        await client.settle()
        told = await client.ask("memory-city-told")
        asked = await client.ask("memory-city-asked")

    assert overlap("I live in the city of Vienna.", told.heard) >= HEARD_OVERLAP
    assert "vienna" in asked.reply.lower(), asked.reply
    await assert_spoken_as_written(asked)


async def test_interim_transcripts_come_while_the_user_speaks(base_url: str) -> None:
    async with calling(base_url) as client:
        await asyncio.sleep(1)
        await client.settle()
        exchange = await client.ask("tool-sum")
        interim = [
            event for event in client.events if event["kind"] == "user_transcript" and not event["final"]
        ]

    assert "375" in exchange.reply
    assert interim and interim[0]["at_s"] < exchange.end_s, "no interim transcript before the end of speech"


async def test_barge_in_cuts_the_sound_and_keeps_only_what_was_said(base_url: str) -> None:
    async with calling(base_url) as client:
        await asyncio.sleep(1)
        await client.settle()
        mark = len(client.events)
        story = client.speak("talk-story")
        await story.is_over.wait()
        sound_s = await client.ear.first_sound_after(story.end_s, timeout_s=20)
        await asyncio.sleep(max(0.0, sound_s + LISTENED_S - time.perf_counter()))
        stop = client.speak("talk-stop")
        await client.stream.kind("interrupted", after=mark)
        first = await client.stream.kind("turn_finished", after=mark)
        await stop.is_over.wait()
        silent_s = max(end_s for start_s, end_s in client.ear.sounds if start_s < stop.start_s + 0.3)
        said = client.ear.between(sound_s - 0.1, silent_s + 0.1)
        await client.settle()
        written = "".join(
            event["text"]
            for event in client.events
            if event["kind"] == "assistant_delta" and event["turn_id"] == first["turn_id"]
        )

    assert silent_s - stop.start_s < BARGE_IN_LIMIT_S
    assert first["interrupted"] is True
    heard = await asyncio.to_thread(transcribe, said)
    assert 0 < len(first["text"]) < len(written), f"kept {first['text']!r} of {written!r}, heard: {heard!r}"
    assert overlap(first["text"], heard) >= 0.6, f"kept: {first['text']!r}, heard: {heard!r}"


async def test_text_and_voice_share_one_conversation(base_url: str) -> None:
    async with calling(base_url) as client:
        await asyncio.sleep(1)
        await client.settle()
        await client.ask("memory-colour-told")
        reply = await client.http.post(
            "/api/chat", json={"text": "What is my favorite color?", "session_id": client.session_id}
        )

    assert "green" in reply.json()["text"].lower(), reply.text


@pytest.mark.parametrize("ending", ["stop", "kill"])
async def test_a_fact_told_by_voice_is_known_after_a_restart(tmp_path: Path, ending: str) -> None:
    service = Service(tmp_path, {"TWIN_GREETING": ""}).start()
    try:
        async with calling(service.base_url) as client:
            await asyncio.sleep(1)
            told = await client.ask("memory-dog-told")
            await client.stream.kind("memory_saved", timeout_s=10)
        assert overlap("My dog is called Biscuit.", told.heard) >= HEARD_OVERLAP
        getattr(service, ending)()
        service.start()
        async with calling(service.base_url) as client:
            await asyncio.sleep(1)
            asked = await client.ask("memory-dog-asked")
        assert "biscuit" in asked.reply.lower(), asked.reply
        await assert_spoken_as_written(asked)
    finally:
        service.kill()


async def test_the_agent_greets_in_words(tmp_path: Path) -> None:
    greeting = "Hello, I am Twin. What can I do for you?"
    service = Service(tmp_path, {"TWIN_GREETING": greeting}).start()
    try:
        async with calling(service.base_url) as client:
            connected_s = client.events[-1]["at_s"]
            sound_s = await client.ear.first_sound_after(0, timeout_s=10)
            await client.settle()
            audio = client.ear.between(sound_s - 0.1, time.perf_counter())
        assert sound_s - connected_s < 3
        assert overlap(greeting, await asyncio.to_thread(transcribe, audio)) >= SPOKEN_OVERLAP
    finally:
        assert service.stop() == 0
