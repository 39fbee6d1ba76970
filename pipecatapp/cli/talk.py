"""`twin talk`: speak recordings to a running agent and print what came back.

It owns the lines and the file of what was heard; the call is `adapters.audio.webrtc_client`'s.
"""

from __future__ import annotations

import argparse
import asyncio
import wave
from pathlib import Path
from typing import Any

import numpy as np

from pipecatapp.adapters.audio.webrtc_client import WIRE_RATE_HZ, CallRecording, WebRtcClient, read_wav
from pipecatapp.cli.agent_client import agent_url

GREETING_S = 4.0
"""Time that a greeting is waited for (seconds)."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("talk", help="speak WAV files to a running agent")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.wav", help="16-bit WAV, one turn each")
    parser.add_argument("--url", default="", help="the agent (default: http://127.0.0.1:TWIN_PORT)")
    parser.add_argument("--session", default="", help="go on with this conversation")
    parser.add_argument("--save", type=Path, metavar="FILE.wav", help="write what was heard")
    parser.add_argument("--quiet", type=float, default=1.2, help="silence that ends an answer (seconds)")
    parser.set_defaults(func=_talk)


def _talk(options: argparse.Namespace) -> int:
    recordings = [(path, read_wav(path)) for path in options.files]
    return asyncio.run(_converse(options, recordings))


async def _converse(options: argparse.Namespace, recordings: list[tuple[Path, Any]]) -> int:
    client = WebRtcClient(agent_url(options.url), options.session)
    heard: list[CallRecording] = []
    await client.connect()
    try:
        print(f"session {client.session_id}")
        await client.say(np.zeros(1, np.int16), quiet_s=options.quiet, answer_s=GREETING_S)
        for path, samples in recordings:
            answer = await client.say(samples, quiet_s=options.quiet, answer_s=20)
            heard.append(answer)
            _print_turn(path, answer)
    finally:
        await client.close()
    if options.save:
        _save(options.save, heard)
    return 0 if all(answer.first_sound_s is not None for answer in heard) else 1


def _print_turn(path: Path, answer: CallRecording) -> None:
    by_kind: dict[str, dict[str, Any]] = {event.get("kind", ""): event for event in answer.events}
    print(f"{path.name}")
    print(f"  you:  {by_kind.get('turn_started', {}).get('text', '(not understood)')}")
    said = "".join(event["text"] for event in answer.events if event.get("kind") == "assistant_delta")
    print(f"  twin: {by_kind.get('turn_finished', {}).get('text') or said or '(silent)'}")
    if answer.first_sound_s is None:
        print("  no sound came back")
        return
    stages = by_kind.get("latency", {}).get("stages_s", {})
    print(f"  first sound {answer.first_sound_s:.2f} s after you stopped", end="")
    print("".join(f"  {name} {value:.2f}" for name, value in stages.items()))


def _save(path: Path, heard: list[CallRecording]) -> None:
    samples = [piece for answer in heard for piece in answer.samples]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(WIRE_RATE_HZ)
        file.writeframes(np.concatenate(samples).tobytes() if samples else b"")
    print(f"heard sound is in {path}")
