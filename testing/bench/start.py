"""How long a command of `twin` takes to begin, against a bare Python: `python -c pass`.

It owns the measurement: the commands take turns, so that what else the machine does befalls all of them, and
the best and the median of each count. Usage: scripts/bench start [--rounds 10] [--json]. What the quick ones
may import is a test's (testing/integration/cli).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from testing.bench.report import machine, quantile, table, write_json

BARE = "python -c pass"
AIM_S = 0.3
"""`--help` and `status` answer within this on two idle cores (seconds)."""
AIMED = ("twin --help", "twin status")
STATUS = {
    "checks": {"llm": {"ok": True, "detail": "answered"}},
    "engines": {},
    "calls": {"active": 0, "limit": 4},
    "sessions": 0,
}


class _Agent(BaseHTTPRequestHandler):
    """Answers `twin status` at once, so that only the command's own time counts."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(STATUS).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def agent() -> Iterator[str]:
    """Yield the address of an agent that says that it is well."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Agent) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def commands(url: str) -> dict[str, list[str]]:
    """Return what is started, by the name that the table shows."""
    twin = ["-m", "pipecatapp"]
    return {
        BARE: ["-c", "pass"],
        "twin --help": [*twin, "--help"],
        "twin status": [*twin, "status", "--url", url],
        "twin chat --help": [*twin, "chat", "--help"],
        "twin models --help": [*twin, "models", "--help"],
        "twin workflow nodes": [*twin, "workflow", "nodes"],
        "twin serve --help": [*twin, "serve", "--help"],
    }


def take_turns(started: Mapping[str, Sequence[str]], rounds: int) -> dict[str, list[float]]:
    """Return how long each command took in each round (seconds), but for a first one, which fills caches."""
    taken: dict[str, list[float]] = {name: [] for name in started}
    for number in range(rounds + 1):
        for name, words in started.items():
            begin_s = time.perf_counter()
            subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)
            if number:
                taken[name].append(time.perf_counter() - begin_s)
    return taken


def summary(taken: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    """Return the best and the median of each (seconds), and how many times a bare Python's they are."""
    bare = {"best": min(taken[BARE]), "median": quantile(taken[BARE], 0.5)}
    found = {}
    for name, times in taken.items():
        best_s, median_s = min(times), quantile(times, 0.5)
        found[name] = {
            "best_s": best_s,
            "median_s": median_s,
            "best_ratio": best_s / bare["best"],
            "median_ratio": median_s / bare["median"],
        }
    return found


def show(found: Mapping[str, Mapping[str, float]]) -> str:
    """Return the table, and whether the aim is met."""
    rows = [
        [
            name,
            *(f"{of[key]:.3f}" for key in ("best_s", "median_s")),
            f"{of['best_ratio']:.1f}",
            f"{of['median_ratio']:.1f}",
        ]
        for name, of in found.items()
    ]
    head = ["command", "best s", "median s", "best / bare", "median / bare"]
    aims = [
        f"aim: {name} within {AIM_S} s: {found[name]['median_s'] <= AIM_S}" for name in AIMED if name in found
    ]
    return "\n".join([table(head, rows), "", *aims])


def main() -> None:
    """Read the command line, measure, print and write the result."""
    parser = argparse.ArgumentParser(description="Measure how long commands take to begin.")
    parser.add_argument(
        "--rounds", type=int, default=10, help="how often each is started (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    options = parser.parse_args()
    before = machine()
    with agent() as url:
        found = summary(take_turns(commands(url), max(1, options.rounds)))
    result: dict[str, Any] = {"machine": before, "commands": found}
    path = write_json("start", result)
    if options.json:
        print(json.dumps(result, indent=1))
        return
    print(show(found))
    print(f"\n{before['cores']} cores, {before['cpu']}, load {before['load_1_min']} at the start\n{path}")


if __name__ == "__main__":
    main()
