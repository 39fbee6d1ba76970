"""`twin tls`: the local CA, this node's certificate, and the signing of other nodes' requests.

It owns the command's arguments and output; certificates are `adapters.tls.local_ca`'s.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from pipecatapp.adapters.tls.local_ca import (
    RENEW_DAYS,
    ensure_ca,
    ensure_certificates,
    local_names,
    sign_csr,
)
from pipecatapp.app.configuration import load_settings


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
    init = actions.add_parser("init-ca", help="make the authority of a cluster, where there is none")
    init.add_argument("--dir", type=Path, required=True, help="folder of the authority")
    init.add_argument("--adopt", type=Path, help="folder whose authority is taken over, when it has one")
    init.set_defaults(func=_init_ca)
    sign = actions.add_parser("sign", help="sign a node's request: JSON on stdin and stdout")
    sign.add_argument("--dir", type=Path, required=True, help="folder of the authority")
    sign.add_argument("--host", action="append", required=True, help="a name or address (repeat as needed)")
    sign.add_argument(
        "--renew-days",
        type=int,
        default=RENEW_DAYS,
        help="make anew what ends earlier (default: %(default)s)",
    )
    sign.add_argument(
        "--client-auth", action="store_true", help="good for showing itself to servers too, not only as one"
    )
    sign.set_defaults(func=_sign)


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


def _init_ca(options: argparse.Namespace) -> int:
    made = ensure_ca(options.dir, options.adopt)
    print(json.dumps({"changed": made, "ca": str(options.dir / "ca.crt")}))
    return 0


def _sign(options: argparse.Namespace) -> int:
    """Read `{"request": PEM, "current": PEM}`, print `{"changed", "certificate", "authority"}`."""
    request = json.load(sys.stdin)
    current = request.get("current", "").encode()
    signed = sign_csr(
        options.dir,
        request["request"].encode(),
        options.host,
        current,
        renew_days=options.renew_days,
        is_client=options.client_auth,
    )
    authority = (options.dir / "ca.crt").read_text(encoding="ascii")
    answer = {"changed": signed != current, "certificate": signed.decode(), "authority": authority}
    print(json.dumps(answer))
    return 0
