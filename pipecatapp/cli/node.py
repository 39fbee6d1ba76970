"""`twin node`: what this machine can do, measured once, and how quick its language model is.

It owns the commands' arguments and tables; measuring, running and keeping are `ops.node_profile`'s. The job
`llama-benchmark` runs `twin node bench`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pipecatapp.adapters.llm.llama_bench import BenchSize
from pipecatapp.app.configuration import load_settings
from pipecatapp.ops.node_profile import Benchmark, benchmark, kept_profile, measure, profile_path
from pipecatapp.ops.planner import publish
from pipecatapp.planning.profile import NodeProfile, parse_profile, read_profile
from pipecatapp.settings import Settings

UNKNOWN = "unknown"
DEFAULT = BenchSize()
MOST_TOKENS = 4096
MOST_REPEATS = 100


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands."""
    parser = subparsers.add_parser(
        "node", help="measure what this machine can do, and how quick its model is"
    )
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add_profile(commands)
    _add_bench(commands)


def _add_profile(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "profile",
        help="measure what this machine can do, once",
        description="Measure CPU, memory, a small model's speed, disk and network card, and keep the profile "
        "in TWIN_DATA_DIR. A second run shows the kept one.",
    )
    parser.add_argument("--force", action="store_true", help="measure anew, for other memory or another disk")
    parser.add_argument("--node", default="", metavar="NAME", help="the machine's name (default: host name)")
    parser.add_argument("--json", action="store_true", help="print the profile as JSON and nothing else")
    parser.add_argument(
        "--publish",
        nargs="?",
        const="",
        metavar="FILE",
        help="write the profile, or that of FILE (- for what is typed in), to its node's metadata in Nomad",
    )
    parser.set_defaults(func=_profile)


def _add_bench(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "bench",
        help="measure how quick this machine's language model is",
        description="Run llama-bench on the model that this machine thinks with, print the table and keep "
        "the result in TWIN_DATA_DIR/benchmarks, by node and date.",
    )
    parser.add_argument("--model", default="", metavar="NAME", help="another model of `twin models list`")
    parser.add_argument("--node", default="", metavar="NAME", help="the machine's name (default: host name)")
    parser.add_argument(
        "--prompt", type=_tokens, default=DEFAULT.prompt_tokens, metavar="TOKENS", help="length of the prompt"
    )
    parser.add_argument(
        "--answer", type=_tokens, default=DEFAULT.answer_tokens, metavar="TOKENS", help="length of the answer"
    )
    parser.add_argument(
        "--repeats", type=_repeats, default=DEFAULT.repeats, metavar="TIMES", help="how often each"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(func=_bench)


def _profile(options: argparse.Namespace) -> int:
    settings = load_settings()
    if options.publish:
        return _publish(settings, _given(options.publish))
    profile = None if options.force else kept_profile(settings)
    if profile is not None and options.node and profile.node != options.node:
        profile = None
    is_kept = profile is not None
    if profile is None:
        profile = measure(settings, _say, datetime.now(UTC), options.node)
    if options.publish is not None:
        return _publish(settings, profile)
    if options.json:
        print(profile.to_text(), end="")
        return 0
    print("\n".join(format_profile(profile)))
    path = profile_path(settings)
    print(f"\nKept in {path}; measure anew with --force." if is_kept else f"\nWritten to {path}.")
    return 0


def _given(file: str) -> NodeProfile:
    return parse_profile(sys.stdin.read(), "What was typed in") if file == "-" else read_profile(Path(file))


def _publish(settings: Settings, profile: NodeProfile) -> int:
    is_new = asyncio.run(publish(settings, profile))
    print(f"{profile.node}: {'published in Nomad' if is_new else 'Nomad knew it already'}")
    return 0


def _say(what: str) -> None:
    print(f"measuring: {what}", file=sys.stderr)


def format_profile(profile: NodeProfile) -> Iterator[str]:
    """Return the table's lines."""
    yield f"{profile.node}, measured {profile.measured_at}"
    yield f"  CPU      {profile.cpu_model}, {profile.cores} cores"
    yield f"  can      {' '.join(profile.cpu_flags) or 'nothing beyond x86-64'}"
    yield f"  memory   {profile.memory_mb} MB, {profile.available_mb} MB of it free"
    yield f"  disk     {_told(profile.disk_read_mb_s, 'MB/s')}"
    yield f"  network  {_told(profile.link_mbit_s, 'Mbit/s')}"
    for what, why in profile.set_aside.items():
        yield f"  set aside  {what}: {why}"
    yield ""
    yield f"  threads  memory MB/s  reads tokens/s  writes tokens/s  ({profile.model}, {profile.program})"
    for speed in profile.speeds:
        yield (
            f"  {speed.threads:>7}  {speed.memory_read_mb_s:>11.0f}  {speed.prefill_tokens_s:>14.1f}"
            f"  {speed.decode_tokens_s:>15.1f}"
        )


def _told(value: float | None, unit: str) -> str:
    return UNKNOWN if value is None else f"{value:.0f} {unit}"


def _tokens(text: str) -> int:
    return _within(text, MOST_TOKENS)


def _repeats(text: str) -> int:
    return _within(text, MOST_REPEATS)


def _within(text: str, most: int) -> int:
    if not text.isdigit() or not 0 < int(text) <= most:
        raise argparse.ArgumentTypeError(f"from 1 to {most}")
    return int(text)


def _bench(options: argparse.Namespace) -> int:
    size = BenchSize(options.prompt, options.answer, options.repeats)
    result, path = benchmark(load_settings(), options.model, size, datetime.now(UTC), options.node)
    if options.json:
        print(result.model_dump_json(indent=1))
        return 0
    print("\n".join(format_benchmark(result)))
    print(f"\nWritten to {path}.")
    return 0


def format_benchmark(result: Benchmark) -> Iterator[str]:
    """Return the table's lines."""
    yield f"{result.model} on {result.node}, {result.program}, {result.measured_at}"
    yield f"threads  reads tokens/s ({result.prompt_tokens})  writes tokens/s ({result.answer_tokens})"
    for row in result.rows:
        yield f"{row.threads:>7}  {row.prefill_tokens_s:>20.1f}  {row.decode_tokens_s:>20.1f}"
