"""The command line: `serve` and `provision` for the units, `token` for a person, `worker` for bootstrap.sh.

It owns arguments and exit codes only.
"""

from __future__ import annotations

import argparse
import getpass
import logging
import os
import socket
import sys
import time
from pathlib import Path

from . import provision, server, worker
from .tokens import JoinError, Store, Token, fingerprint_of, parse, seconds_of

FOLDER = Path("/var/lib/twin-join")
PLAN = Path("/etc/twin/join.json")
AUTHORITY = Path("/var/lib/twin-join/authority.crt")
TOKEN_VARIABLE = "TWIN_JOIN_TOKEN"


def _serve(options: argparse.Namespace) -> int:
    try:
        server.serve(options.folder, options.port, options.certificate, options.key, options.authority)
    except OSError as exc:
        raise JoinError(f"The service cannot start: {exc}.") from exc
    return 0


def _provision(options: argparse.Namespace) -> int:
    well = provision.Provisioner(options.folder, provision.Plan.read(options.plan)).run()
    return 0 if well else 1


def _token_create(options: argparse.Namespace) -> int:
    try:
        authority = options.authority.read_text(encoding="ascii")
        text = Store(options.folder).create(seconds_of(options.ttl), fingerprint_of(authority))
    except OSError as exc:
        raise JoinError(
            f"No token can be made here ({exc.strerror}: {exc.filename}). Run it as root on the first "
            "controller."
        ) from exc
    sys.stdout.write(text + "\n")
    return 0


def describe(token: Token, used_by: str, is_used: bool, now_s: float) -> str:
    """A token in a line: its id and what became of it."""
    left_min = int((token.expires_s - now_s) // 60)
    if is_used:
        return f"{token.id}  used by {used_by or 'a machine'}"
    return f"{token.id}  " + (f"good for {left_min} more minutes" if now_s < token.expires_s else "expired")


def _token_list(options: argparse.Namespace) -> int:
    store = Store(options.folder)
    lines = [
        describe(token, store.used_by(token.id), store.is_used(token.id), time.time())
        for token in store.all()
    ]
    sys.stdout.write("".join(f"{line}\n" for line in lines) or "There is no token.\n")
    return 0


def _token_revoke(options: argparse.Namespace) -> int:
    Store(options.folder).revoke(options.id.partition(".")[0])
    return 0


def _worker(options: argparse.Namespace) -> int:
    if os.geteuid() != 0:
        raise JoinError("Joining needs root.")
    token = os.environ.pop(TOKEN_VARIABLE, "")
    if not token:
        if not sys.stdin.isatty():
            raise JoinError(f"The token is missing: give --token, or set {TOKEN_VARIABLE}.")
        token = getpass.getpass(
            "Token (twin join-token create, on the controller, prints one; it is not shown here): "
        )
    parse(token)
    worker.join(options.controller, options.port, token, options.hostname)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="twin-join", description="How a machine joins the cluster.")
    parser.add_argument("--folder", type=Path, default=FOLDER, help=argparse.SUPPRESS)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serving = commands.add_parser("serve", help="take requests to join (the service)")
    serving.add_argument("--port", type=int, required=True)
    for name in ("certificate", "key", "authority"):
        serving.add_argument(f"--{name}", type=Path, required=True)
    serving.set_defaults(func=_serve)
    providing = commands.add_parser("provision", help="set up the machines that asked (root's unit)")
    providing.add_argument("--plan", type=Path, default=PLAN)
    providing.set_defaults(func=_provision)
    tokens = commands.add_parser("token", help="make, list and revoke tokens").add_subparsers(
        required=True, metavar="COMMAND"
    )
    making = tokens.add_parser("create", help="print a token that is good for one machine")
    making.add_argument("--ttl", default="1h", help="how long it is good: 30m, 1h, 2d (default: 1h)")
    making.add_argument("--authority", type=Path, default=AUTHORITY, help=argparse.SUPPRESS)
    making.set_defaults(func=_token_create)
    tokens.add_parser("list", help="what became of each token").set_defaults(func=_token_list)
    revoking = tokens.add_parser("revoke", help="make a token useless")
    revoking.add_argument("id", help="the first six letters of the token")
    revoking.set_defaults(func=_token_revoke)
    joining = commands.add_parser("worker", help="make this machine a worker (bootstrap.sh calls it)")
    joining.add_argument("--controller", required=True, help="the controller's address")
    joining.add_argument("--port", type=int, required=True)
    joining.add_argument("--hostname", default=socket.gethostname().split(".")[0])
    joining.set_defaults(func=_worker)
    return parser


def main() -> int:
    """Run one command; return its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    options = _parser().parse_args()
    try:
        return int(options.func(options))
    except JoinError as exc:
        sys.stderr.write(f"twin-join: {exc}\n")
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
