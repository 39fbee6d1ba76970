"""Measures how many calls this machine holds with stand-in models, and what one costs.

Usage: scripts/bench voice_load [--calls 1 2 4 8 12] [--per-worker N] [--questions N]

For each number of calls it starts worker processes (an agent each, with stand-in models), spreads the calls
over them as a front does, lets every caller ask in turn, and prints the latency at the client with CPU and
memory per call. Callers are processes of their own, a few calls each; they run on the same cores, and what
they use is shown.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from testing.bench.report import FOLDER, machine, pyplot, quantile, table, write_json
from testing.e2e.client import Client, calling
from testing.e2e.service import ROOT, Service
from testing.e2e.sound import load_recording

RECORDING = "know-sky"
STAGGER_S = 0.9
"""Time between the first questions of two callers (seconds); people do not speak in step."""
PAUSE_S = 1.5
CALLS_PER_CALLER = 4
AIM = 1.25
"""Calls aimed at must be answered within this many times the latency of one call."""
AIMED_CALLS = 8


async def ask(client: Client, questions: int, delay_s: float) -> list[dict[str, Any]]:
    """Ask one question after the other and return what each took."""
    samples = load_recording(RECORDING)
    await asyncio.sleep(1.0 + delay_s)
    turns = []
    for _ in range(questions):
        try:
            exchange = await client.ask(samples, timeout_s=20)
            turns.append({"seconds": exchange.voice_to_voice_s, "cut_early": exchange.was_cut_early})
        except TimeoutError:
            turns.append({"seconds": None, "cut_early": False})
        await asyncio.sleep(PAUSE_S)
    return turns


async def be_caller(urls: list[str], questions: int, delay_s: float) -> dict[str, Any]:
    """Hold one call to each of `urls` and return the turns of all."""
    async with asyncio.TaskGroup() as group:

        async def hold(url: str, index: int) -> tuple[list[dict[str, Any]], int]:
            async with calling(url) as client:
                turns = await ask(client, questions, delay_s + index * STAGGER_S)
                return turns, client.ear.gaps

        tasks = [group.create_task(hold(url, index)) for index, url in enumerate(urls)]
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "turns": [turn for task in tasks for turn in task.result()[0]],
        "gaps": sum(task.result()[1] for task in tasks),
        "cpu_s": usage.ru_utime + usage.ru_stime,
    }


def start_callers(urls: list[str], questions: int) -> list[subprocess.Popen[str]]:
    """Start processes that hold the calls."""
    callers = []
    for first in range(0, len(urls), CALLS_PER_CALLER):
        command = [sys.executable, "-m", "testing.bench.voice_load", "--questions", str(questions)]
        command += ["--delay", str(first * STAGGER_S), "--be-caller", *urls[first : first + CALLS_PER_CALLER]]
        callers.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True))
    return callers


def measure(calls: int, per_worker: int, questions: int, folder: Path) -> dict[str, Any]:
    """Hold so many calls at once and return the figures."""
    count = math.ceil(calls / per_worker)
    command = (sys.executable, "-m", "testing.bench.standin_agent")
    environment = {"TWIN_MAX_CALLS": "64", "BENCHMARK_MODE": "true", "TWIN_LOG_LEVEL": "warning"}
    workers = [Service(folder / f"{calls}-{n}", environment, command).start() for n in range(count)]
    try:
        idle_mb = sum(worker.rss_mb() for worker in workers)
        urls = [workers[index % count].base_url for index in range(calls)]
        before_s, begin_s = sum(worker.cpu_s() for worker in workers), time.monotonic()
        callers = start_callers(urls, questions)
        results = [json.loads(caller.communicate(timeout=600)[0]) for caller in callers]
        elapsed_s = time.monotonic() - begin_s
        used_s = sum(worker.cpu_s() for worker in workers) - before_s
        busy_mb = sum(worker.rss_mb() for worker in workers)
    finally:
        for worker in workers:
            worker.stop()
    turns = [turn for result in results for turn in result["turns"]]
    seconds = [turn["seconds"] for turn in turns if turn["seconds"] is not None]
    return {
        "calls": calls,
        "workers": count,
        "turns": len(turns),
        "answered": len(seconds),
        "p50_s": round(quantile(seconds, 0.5), 3),
        "p95_s": round(quantile(seconds, 0.95), 3),
        "cut_early": sum(turn["cut_early"] for turn in turns),
        "gaps": sum(result["gaps"] for result in results),
        "cpu_percent": round(100 * used_s / elapsed_s),
        "cpu_percent_per_call": round(100 * used_s / elapsed_s / calls, 1),
        "rss_mb": round(busy_mb),
        "rss_mb_per_call": round((busy_mb - idle_mb) / calls, 1),
        "callers_cpu_percent": round(100 * sum(result["cpu_s"] for result in results) / elapsed_s),
        "load_1_min": round(os.getloadavg()[0], 2),
    }


def plot(rows: list[dict[str, Any]]) -> Path:
    """Draw latency and CPU over the number of calls."""
    figure, (left, right) = pyplot().subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    calls = [row["calls"] for row in rows]
    left.plot(calls, [row["p50_s"] for row in rows], marker="o", label="p50")
    left.plot(calls, [row["p95_s"] for row in rows], marker="o", linestyle="--", label="p95")
    left.set(xlabel="calls at once", ylabel="seconds to the answer", ylim=(0, None))
    left.legend()
    right.bar([str(n) for n in calls], [row["cpu_percent_per_call"] for row in rows], color="#4c78a8")
    right.set(xlabel="calls at once", ylabel="CPU per call, % of one core")
    path = FOLDER / "voice_load.png"
    figure.savefig(path, dpi=110)
    return path


def main() -> None:
    """Read the command line, measure, print and write the result."""
    parser = argparse.ArgumentParser(description="Measure calls at once with stand-in models.")
    parser.add_argument("--calls", type=int, nargs="+", default=[1, 2, 4, 8, 12])
    parser.add_argument("--per-worker", type=int, default=4, help="most calls of one worker process")
    parser.add_argument("--questions", type=int, default=4, help="questions of each caller")
    parser.add_argument("--delay", type=float, default=0.0, help=argparse.SUPPRESS)
    parser.add_argument("--be-caller", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.be_caller:
        result = asyncio.run(be_caller(options.be_caller, options.questions, options.delay))
        print(json.dumps(result))
        return
    before, rows = machine(), []
    with tempfile.TemporaryDirectory() as folder:
        for calls in options.calls:
            rows.append(measure(calls, options.per_worker, options.questions, Path(folder)))
            print(rows[-1], flush=True)
    path = write_json("voice_load", {"machine": before, "rows": rows})
    picture = plot(rows)
    print("\n" + table(list(rows[0]), [list(row.values()) for row in rows]))
    print(f"\n{before['cores']} cores, {before['cpu']}\n{path}\n{picture}")
    by_calls = {row["calls"]: row for row in rows}
    if 1 in by_calls and AIMED_CALLS in by_calls:
        ratio = by_calls[AIMED_CALLS]["p50_s"] / by_calls[1]["p50_s"]
        print(f"aim: {AIMED_CALLS} calls within {AIM} of one call's p50: {ratio:.2f}, {ratio <= AIM}")


if __name__ == "__main__":
    main()
