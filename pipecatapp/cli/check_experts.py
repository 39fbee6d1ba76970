"""`twin check-experts`: a real prompt to every expert and to the agent; what the job `health-check` runs.

It owns the command's arguments, lines and exit code; asking and judging is `ops.expert_check`'s.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import asdict

from pipecatapp.app.configuration import load_settings
from pipecatapp.app.logs import set_up_logging
from pipecatapp.cli.agent_client import agent_url
from pipecatapp.ops.expert_check import CheckRequest, Verdict, check_experts, expected_experts, names_of

TIMEOUT_S = 60.0
"""A sentence takes a Core 2 Duo that is busy with a call up to half of it (seconds)."""

EXIT_ILL = 1
"""An expert is missing or did not complete its prompt."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "check-experts",
        help="ask every expert of the cluster a real question",
        description="Find the experts in Consul (TWIN_CONSUL_URL, CONSUL_HTTP_TOKEN), send each a real "
        "prompt, and ask the agent too. Exits 1 when one is missing or does not complete it.",
    )
    parser.add_argument(
        "experts",
        nargs="*",
        metavar="EXPERT",
        help="must be in Consul (default: TWIN_EXPERTS; else all there, and main, there or the agent's own)",
    )
    parser.add_argument(
        "--deployed",
        action="append",
        default=[],
        metavar="EXPERT",
        help="must be in Consul too: there is a job for it; may be given more than once",
    )
    parser.add_argument(
        "--url", default="", help="the agent, through the ingress (default: http://127.0.0.1:TWIN_PORT)"
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=TIMEOUT_S,
        help="longest wait for one answer (seconds, default 60)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(func=_check)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError("from above 0 to 3600 seconds")
    return value


def _check(options: argparse.Namespace) -> int:
    settings = load_settings()
    set_up_logging("error")
    expected, deployed = expected_experts(options.experts, settings), names_of(options.deployed)
    request = CheckRequest(expected, agent_url(options.url), options.timeout, deployed)
    verdicts = asyncio.run(check_experts(settings, request))
    is_well = all(verdict.is_well for verdict in verdicts)
    if options.json:
        print(json.dumps({"ok": is_well, "checks": [asdict(verdict) for verdict in verdicts]}, indent=1))
    else:
        for verdict in verdicts:
            print(_line(verdict))
    return 0 if is_well else EXIT_ILL


def _line(verdict: Verdict) -> str:
    where = f" ({verdict.where})" if verdict.where else ""
    return f"{'ok ' if verdict.is_well else 'BAD'}  {verdict.name}{where}: {verdict.detail}"
