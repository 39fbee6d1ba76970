"""Measures what the gateway adds between a program and a model's server.

Usage: scripts/bench gateway [--pairs N] [--long N] [--rounds N] [--streams N]

It starts a `llama-server` with the smallest model and an agent in front of it, and asks both the same with
the same client, by turns: directly, through the gateway, through, directly, and so on. What else the machine
does falls on both alike, and the difference of two neighbours is what the gateway adds.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pipecatapp.adapters.host.api_key_file import FileApiKeyStore
from pipecatapp.adapters.http.stream_client import HttpConnectionPool
from pipecatapp.adapters.llm.server_process import LlmServerProcess, llama_server_command
from pipecatapp.app.clock import SystemClock
from pipecatapp.gateway.api_keys import create_key
from testing.bench.asking import Run, Side, ask, chat
from testing.bench.report import machine, quantile, table, write_json
from testing.e2e.engine_models import SMOLLM, llama_binary, model
from testing.e2e.service import Service

PROMPT = "Tell a story about a lighthouse."
FIRST_TOKENS = 2
LONG_TOKENS = 64
STREAM_TOKENS = 32
CONTEXT = 512
WARM_UP = 10
AIM_ADDED_MS = 1.0
AIM_RATIO = 0.99


async def ask_story(servers: HttpConnectionPool, side: Side, tokens: int, seed: int = 0) -> Run:
    """Ask for `tokens` tokens and time the answer."""
    question = {"role": "user", "content": PROMPT}
    return await ask(servers, side, chat([question], tokens, seed=seed, ignore_eos=True))


def in_turns(count: int, sides: tuple[Side, Side]) -> list[tuple[Side, Side]]:
    """Return the order of each pair; who is first changes."""
    return [sides if number % 2 == 0 else (sides[1], sides[0]) for number in range(count)]


async def measure_pairs(
    servers: HttpConnectionPool, sides: tuple[Side, Side], count: int, tokens: int
) -> dict[str, list[Run]]:
    """Ask one after the other, by turns."""
    runs: dict[str, list[Run]] = {side.name: [] for side in sides}
    for pair in in_turns(count, sides):
        for side in pair:
            runs[side.name].append(await ask_story(servers, side, tokens))
    return runs


async def measure_streams(
    servers: HttpConnectionPool, sides: tuple[Side, Side], rounds: int, streams: int
) -> dict[str, list[dict[str, float]]]:
    """Ask for many streams at once, by turns."""
    found: dict[str, list[dict[str, float]]] = {side.name: [] for side in sides}
    for pair in in_turns(rounds, sides):
        for side in pair:
            began_s = time.perf_counter()
            runs = await asyncio.gather(*(ask_story(servers, side, STREAM_TOKENS, n) for n in range(streams)))
            elapsed_s = time.perf_counter() - began_s
            found[side.name].append(
                {
                    "whole": float(len(runs)),
                    "tokens_per_s": sum(run.tokens for run in runs) / elapsed_s,
                    "first_p50_ms": 1000 * quantile([run.first_s for run in runs], 0.5),
                    "first_p99_ms": 1000 * quantile([run.first_s for run in runs], 0.99),
                }
            )
    return found


@asynccontextmanager
async def sides_up(folder: Path, streams: int) -> AsyncIterator[tuple[tuple[Side, Side], Service]]:
    """Start the model's server and the agent; return where to ask, and the agent."""
    threads = max(1, (os.cpu_count() or 2) - 1)
    command = llama_server_command(
        llama_binary(), model(SMOLLM), threads=threads, context=CONTEXT, slots=streams
    )
    server = LlmServerProcess(command)
    await server.start()
    try:
        environment = {
            "LLM_BASE_URL": server.base_url,
            "LLM_API_KEY": server.api_key,
            "BENCHMARK_MODE": "true",
            "TWIN_LOG_LEVEL": "warning",
        }
        agent = Service(folder, environment)
        key, _ = await create_key(
            FileApiKeyStore(folder / "data"),
            SystemClock(),
            "bench",
            requests_per_minute=0,
            tokens_per_minute=0,
        )
        await asyncio.to_thread(agent.start)
        try:
            direct = Side("direct", server.base_url, server.api_key)
            yield (direct, Side("gateway", f"{agent.base_url}/v1", key)), agent
        finally:
            await asyncio.to_thread(agent.stop)
    finally:
        await server.close()


def summary(
    first: dict[str, list[Run]], long: dict[str, list[Run]], many: dict[str, list[dict[str, float]]]
) -> dict[str, Any]:
    """Return the figures."""
    direct, through = (
        [1000 * run.first_s for run in first["direct"]],
        [1000 * run.first_s for run in first["gateway"]],
    )
    added = [b - a for a, b in zip(direct, through, strict=True)]
    ratios = [b.tokens_per_s / a.tokens_per_s for a, b in zip(long["direct"], long["gateway"], strict=True)]
    many_ratios = [
        b["tokens_per_s"] / a["tokens_per_s"] for a, b in zip(many["direct"], many["gateway"], strict=True)
    ]
    return {
        "pairs": len(added),
        "first_direct_p50_ms": quantile(direct, 0.5),
        "first_direct_p99_ms": quantile(direct, 0.99),
        "first_gateway_p50_ms": quantile(through, 0.5),
        "first_gateway_p99_ms": quantile(through, 0.99),
        "added_p50_ms": quantile(added, 0.5),
        "added_p99_ms": quantile(through, 0.99) - quantile(direct, 0.99),
        "long_pairs": len(ratios),
        "direct_tokens_per_s": quantile([run.tokens_per_s for run in long["direct"]], 0.5),
        "gateway_tokens_per_s": quantile([run.tokens_per_s for run in long["gateway"]], 0.5),
        "tokens_per_s_ratio": quantile(ratios, 0.5),
        "streams": many,
        "streams_ratio": quantile(many_ratios, 0.5),
    }


def show(found: dict[str, Any], streams: int) -> None:
    """Print the tables and the aims."""

    def of_many(side: str, name: str) -> str:
        return f"{quantile([one[name] for one in found['streams'][side]], 0.5):.1f}"

    rows = [
        ["first piece, p50 (ms)"] + [f"{found[f'first_{s}_p50_ms']:.2f}" for s in ("direct", "gateway")],
        ["first piece, p99 (ms)"] + [f"{found[f'first_{s}_p99_ms']:.2f}" for s in ("direct", "gateway")],
        ["one stream (tokens/s)"] + [f"{found[f'{s}_tokens_per_s']:.1f}" for s in ("direct", "gateway")],
    ]
    for label, name in (
        ("all together (tokens/s)", "tokens_per_s"),
        ("first piece, p50 (ms)", "first_p50_ms"),
        ("first piece, p99 (ms)", "first_p99_ms"),
        ("whole answers", "whole"),
    ):
        rows.append([f"{streams} streams: {label}", *(of_many(side, name) for side in ("direct", "gateway"))])
    print(table(["", "direct", "through the gateway"], rows))
    added, ratio = found["added_p50_ms"], found["tokens_per_s_ratio"]
    print(
        f"\nadded to the first piece: p50 {added:.2f} ms (median of {found['pairs']} pairs), "
        f"p99 {found['added_p99_ms']:.2f} ms (difference of the two)"
    )
    print(
        f"processor time of the agent: {found['cpu_ms_per_short_request']:.2f} ms a short request, "
        f"{found['cpu_ms_per_token']:.2f} ms a token of a long one"
    )
    print(f"aim: added p50 at most {AIM_ADDED_MS} ms: {added <= AIM_ADDED_MS}")
    print(f"aim: tokens/s ratio at least {AIM_RATIO}: {ratio:.3f}, {ratio >= AIM_RATIO}")
    whole = all(one["whole"] == streams for one in found["streams"]["gateway"])
    print(f"aim: {streams} streams at once, all whole: {whole}; ratio {found['streams_ratio']:.3f}")


async def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure everything."""
    servers = HttpConnectionPool()
    async with sides_up(folder, options.streams) as (sides, agent):
        await measure_pairs(servers, sides, WARM_UP, FIRST_TOKENS)
        used_s = [agent.cpu_s()]
        first = await measure_pairs(servers, sides, options.pairs, FIRST_TOKENS)
        used_s.append(agent.cpu_s())
        long = await measure_pairs(servers, sides, options.long, LONG_TOKENS)
        used_s.append(agent.cpu_s())
        # Every prompt cache of the server must know the prompt before many are timed.
        await measure_streams(servers, sides, 1, options.streams)
        many = await measure_streams(servers, sides, options.rounds, options.streams)
    servers.close()
    pieces = sum(run.tokens for run in long["gateway"])
    return {
        **summary(first, long, many),
        # What it costs, whatever else the machine does; what the agent does besides is in it.
        "cpu_ms_per_short_request": 1000 * (used_s[1] - used_s[0]) / options.pairs,
        "cpu_ms_per_token": 1000 * (used_s[2] - used_s[1]) / pieces,
    }


def main() -> None:
    """Read the command line, measure, print and write the result."""
    parser = argparse.ArgumentParser(description="Measure what the gateway adds.")
    parser.add_argument("--pairs", type=int, default=200, help="pairs of first pieces")
    parser.add_argument("--long", type=int, default=40, help="pairs of long answers")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of many streams")
    parser.add_argument("--streams", type=int, default=32, help="streams at once")
    options = parser.parse_args()
    before = machine()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(run(options, Path(folder)))
    show(found, options.streams)
    path = write_json("gateway", {"machine": before, **found})
    print(f"\n{before['cores']} cores, {before['cpu']}, load {before['load_1_min']} at the start\n{path}")


if __name__ == "__main__":
    main()
