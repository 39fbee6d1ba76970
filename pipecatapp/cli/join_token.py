"""`twin join-token`: the tokens that machines join the cluster by.

It owns the command's form only: the store is root's, on the first controller, and `twin-join`, which the
role `join` installs there, is the program that may write it.
"""

from __future__ import annotations

import argparse
import subprocess
from typing import TYPE_CHECKING

from pipecatapp.errors import AdapterError

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "/usr/local/sbin/twin-join"
TIMEOUT_S = 30.0


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "join-token", help="make, list and revoke the tokens that machines join by"
    )
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    create = commands.add_parser("create", help="print a token that is good for one machine")
    create.add_argument("--ttl", default="1h", metavar="TIME", help="how long it is good: 30m, 1h, 2d")
    create.set_defaults(func=lambda options: _run(["create", "--ttl", options.ttl]))
    listing = commands.add_parser("list", help="what became of each token")
    listing.set_defaults(func=lambda options: _run(["list"]))
    revoke = commands.add_parser("revoke", help="make a token useless")
    revoke.add_argument("id", help="the first six letters of the token")
    revoke.set_defaults(func=lambda options: _run(["revoke", options.id]))


def _run(arguments: Sequence[str]) -> int:
    """Hand the command to the program that owns the store; return its exit code.

    Raises:
        AdapterError: This is not the first controller of a cluster.
    """
    try:
        return subprocess.run([PROGRAM, "token", *arguments], timeout=TIMEOUT_S, check=False).returncode
    except FileNotFoundError as exc:
        raise AdapterError(
            "no-join-service",
            "Tokens are made on the first controller of a cluster, and this machine is none.",
            hint="Make one of it with ./bootstrap.sh --role controller, or log in there.",
        ) from exc
    except subprocess.TimeoutExpired as exc:
        raise AdapterError("join-service-hangs", f"{PROGRAM} did not end within {TIMEOUT_S:.0f} s.") from exc
