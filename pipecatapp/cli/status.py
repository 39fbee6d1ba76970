"""`twin status`: what a running agent says of itself.

It owns the lines that a person reads; the numbers are the agent's.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from pipecatapp.cli.agent_client import get_json


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("status", help="say how a running agent is")
    parser.add_argument("--url", default="", help="the agent (default: http://127.0.0.1:TWIN_PORT)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(func=_status)


def _status(options: argparse.Namespace) -> int:
    status: dict[str, Any] = get_json(options.url, "/api/status")
    ready = all(check["ok"] for check in status["checks"].values())
    if options.json:
        print(json.dumps(status, indent=2))
        return 0 if ready else 1
    print("ready" if ready else "not ready")
    for name, check in status["checks"].items():
        print(f"  {'ok ' if check['ok'] else 'no '} {name}: {check['detail']}")
    for name, why in status.get("engines", {}).items():
        print(f"  {name}: {why}")
    for what, why in status.get("set_aside", {}).items():
        print(f"  set aside on this CPU: {what}: {why}")
    calls = status["calls"]
    print(f"  calls: {calls['active']} of {calls['limit']}; conversations: {status['sessions']}")
    return 0 if ready else 1
