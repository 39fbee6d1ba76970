"""How near `twin plan`'s speeds come to what is measured on this machine.

It owns the measurement: the small model and the larger ones take turns, so that what else the machine does
befalls all of them, and the best of each counts. Usage: scripts/bench plan [--rounds 3]
[--bin FOLDER] [--json]. The formulas are `pipecatapp/planning/speed.py`'s.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from pipecatapp.adapters.host.benchmark import memory_read_mb_s
from pipecatapp.adapters.host.cpu import read_cpu
from pipecatapp.adapters.llm.llama_bench import BenchSize, run_bench
from pipecatapp.adapters.llm.llama_variants import BENCH
from pipecatapp.app.configuration import load_settings
from pipecatapp.app.llama_build import SMALL_MODEL
from pipecatapp.app.models import model_store
from pipecatapp.ops.node_profile import find_bench
from pipecatapp.planning.profile import NOTED_FLAGS, NodeProfile, ThreadSpeed
from pipecatapp.planning.speed import code_path, expected_alone
from testing.bench.report import machine, write_json

LARGER = ("qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b")
"""Models that are predicted, and small enough for any machine that runs tests."""
WITHIN = 0.2
"""How far a prediction may be from what is measured (part of it)."""


def best_speeds(
    bench: Path, models: dict[str, Path], threads: list[int], rounds: int
) -> dict[tuple[str, int], tuple[float, float]]:
    """Return the best prefill and decode (tokens a second) of each model with each number of threads."""
    best: dict[tuple[str, int], tuple[float, float]] = {}
    for number in range(rounds):
        for count in threads:
            for name, path in models.items():
                [speed] = run_bench(bench, path, [count], BenchSize(repeats=2))
                prefill, decode = best.get((name, count), (0.0, 0.0))
                best[name, count] = max(prefill, speed.best_prefill), max(decode, speed.best_decode)
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return best


def main() -> int:
    """Measure, predict, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bin", type=Path, help="folder of another build's llama-bench")
    parser.add_argument("--as-if", choices=("x64", "avx", "avx2", "avx512"), help="the code that build has")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    before = machine()
    settings = load_settings()
    store, cpu = model_store(settings), read_cpu()
    bench = options.bin / BENCH if options.bin else find_bench(settings, store)[0]
    models = {name: store.path(name) for name in (SMALL_MODEL, *LARGER)}
    threads = sorted({1, cpu.cores})
    memory = {count: memory_read_mb_s(count, cpu.available_mb) for count in threads}
    best = best_speeds(bench, models, threads, options.rounds)
    flags = {flag for flag in NOTED_FLAGS if flag in cpu.flags}
    if options.as_if:
        gone = {"x64": "avx", "avx": "avx2", "avx2": "avx512"}.get(options.as_if)
        flags = {flag for flag in flags if not gone or not flag.startswith(gone)}
    profile = NodeProfile(
        node="here",
        measured_at="2026-01-01T00:00:00Z",
        cpu_model=cpu.model,
        cores=cpu.cores,
        cpu_flags=tuple(sorted(flags)),
        memory_mb=cpu.memory_mb,
        available_mb=cpu.available_mb,
        model=SMALL_MODEL,
        program=str(bench),
        speeds=tuple(
            ThreadSpeed(
                threads=count,
                memory_read_mb_s=memory[count],
                prefill_tokens_s=best[SMALL_MODEL, count][0],
                decode_tokens_s=best[SMALL_MODEL, count][1],
            )
            for count in threads
        ),
    )
    small = store.catalogue.model(SMALL_MODEL).shape
    assert small is not None
    rows = []
    for count in threads:
        for name in LARGER:
            shape = store.catalogue.model(name).shape
            assert shape is not None
            expected = expected_alone(shape, small, profile, count)
            pairs = ((expected.prefill_tokens_s, "reads"), (expected.decode_tokens_s, "writes"))
            for (predicted, what), measured in zip(pairs, best[name, count], strict=True):
                rows.append((name, count, what, predicted, measured, predicted / measured))
    is_near = all(abs(row[-1] - 1) <= WITHIN for row in rows if row[2] == "writes")
    keys = ("model", "threads", "what", "predicted_tokens_s", "measured_tokens_s", "ratio")
    result = {"near": is_near, "rows": [dict(zip(keys, row, strict=True)) for row in rows]}
    path = write_json("plan", {"machine": before, **result})
    if options.json:
        print(json.dumps(result, indent=1))
        return int(not is_near)
    print(f"{cpu.model}, {cpu.cores} cores, code for {code_path(profile.cpu_flags)}")
    for speed in profile.speeds:
        print(
            f"{SMALL_MODEL}, {speed.threads} threads: reads {speed.prefill_tokens_s:.1f}, writes"
            f" {speed.decode_tokens_s:.1f} tokens/s; memory {speed.memory_read_mb_s:.0f} MB/s"
        )
    print(f"{'model':20} {'threads':>7} {'what':6} {'predicted':>9} {'measured':>8} {'ratio':>5}")
    for name, count, what, predicted, measured, ratio in rows:
        print(f"{name:20} {count:>7} {what:6} {predicted:>9.1f} {measured:>8.1f} {ratio:>5.2f}")
    print(path)
    return int(not is_near)


if __name__ == "__main__":
    sys.exit(main())
