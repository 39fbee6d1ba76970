"""`twin tls`: the local CA and this node's certificate.

It owns the command's arguments and output; certificates are `adapters.local_ca`'s.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from pipecatapp.adapters.local_ca import ensure_certificates, local_names
from pipecatapp.settings import load_settings


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("tls", help="make the local CA and this node's certificate")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    ensure = actions.add_parser("ensure", help="make what is missing, near its end or lacks a name")
    ensure.add_argument("--dir", type=Path, help="folder of the files (default: TWIN_DATA_DIR/tls)")
    ensure.add_argument(
        "--host", action="append", default=[], help="a further name or address (repeat as needed)"
    )
    ensure.add_argument("--json", action="store_true", help="print JSON with `changed`")
    ensure.set_defaults(func=_ensure)


def _ensure(options: argparse.Namespace) -> int:
    folder = options.dir or load_settings().data_dir / "tls"
    names = list(dict.fromkeys([*local_names(), *options.host]))
    made = ensure_certificates(folder, names)
    if options.json:
        print(json.dumps({"changed": made.changed, "ca": str(made.ca), "names": names}))
    else:
        print(f"{'Made' if made.changed else 'Kept'} the certificate for {', '.join(names)} in {folder}.")
        print(f"Trust {made.ca} in your browser, once.")
    return 0
