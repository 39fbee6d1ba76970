"""`twin benchmark`: how quick this machine's language model is; what the job `llama-benchmark` runs.

It owns the command's arguments and its table; running and keeping is `ops.node_profile`'s.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime

from pipecatapp.adapters.llm.llama_bench import BenchSize
from pipecatapp.app.configuration import load_settings
from pipecatapp.ops.node_profile import Benchmark, benchmark

DEFAULT = BenchSize()
MOST_TOKENS = 4096
MOST_REPEATS = 100


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "benchmark",
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
    parser.set_defaults(func=_benchmark)


def _tokens(text: str) -> int:
    return _within(text, MOST_TOKENS)


def _repeats(text: str) -> int:
    return _within(text, MOST_REPEATS)


def _within(text: str, most: int) -> int:
    if not text.isdigit() or not 0 < int(text) <= most:
        raise argparse.ArgumentTypeError(f"from 1 to {most}")
    return int(text)


def _benchmark(options: argparse.Namespace) -> int:
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
