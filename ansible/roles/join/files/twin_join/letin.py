"""Let the controller's Ansible into this machine: a user of its own, its key, and sudo.

It owns the three files that do so. Ansible needs root here (packages, units, users), so the user may do all
by sudo without a password; its own password is locked, and its key is good from the controller's addresses
only, for commands only (`restrict`: no forwarding, no terminal).
"""

from __future__ import annotations

import ipaddress
import os
import pwd
import re
import subprocess
from pathlib import Path
from typing import Any

from .tokens import JoinError

USER = "twin-admin"
HOME = Path("/var/lib/twin-admin")
SUDOERS = Path("/etc/sudoers.d/twin-admin")
SUDOERS_TEXT = """\
# What logins here know of proxies and package registries (/etc/environment) holds for root's work too.
Defaults:twin-admin env_keep += "PIP_* UV_* SSL_CERT_* REQUESTS_CA_BUNDLE http_proxy https_proxy no_proxy"
twin-admin ALL=(ALL:ALL) NOPASSWD: ALL
"""
COMMENT = "twin-controller"
"""Marks the line of authorized_keys that is ours."""
PUBLIC_KEY = re.compile(r"ssh-ed25519 [A-Za-z0-9+/]{68}")
TIMEOUT_S = 30.0


def key_line(public_key: str, addresses: list[str]) -> str:
    """The line of authorized_keys that lets the controller in.

    Raises:
        JoinError: The controller sent something else than a key and addresses.
    """
    if not PUBLIC_KEY.fullmatch(public_key) or not addresses:
        raise JoinError("The controller sent no key that could be let in.")
    try:
        known = [str(ipaddress.ip_address(address)) for address in addresses]
    except ValueError as exc:
        raise JoinError("The controller sent an address that is none.") from exc
    return f'restrict,from="{",".join(known)}" {public_key} {COMMENT}'


def with_line(text: str, line: str) -> str:
    """An authorized_keys with our line in it, or without one when `line` is ""; other lines stay."""
    others = [entry for entry in text.splitlines() if not entry.endswith(f" {COMMENT}")]
    return "".join(f"{entry}\n" for entry in [*others, *([line] if line else [])])


def let_in(offer: dict[str, Any]) -> None:
    """Let the controller in, as root.

    Raises:
        JoinError: The machine cannot be opened, or the offer is none.
    """
    if offer.get("user") != USER:
        raise JoinError(f"The controller wants to be {offer.get('user')!r} here; this machine knows {USER}.")
    line = key_line(str(offer.get("public_key", "")), [str(address) for address in offer.get("from") or []])
    _make_user()
    _write(SUDOERS, SUDOERS_TEXT, 0o440)
    _run(["visudo", "-cqf", str(SUDOERS)])
    account = pwd.getpwnam(USER)
    keys = HOME / ".ssh/authorized_keys"
    keys.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write(keys, with_line(_text_of(keys), line), 0o600)
    for path in (keys.parent, keys):
        os.chown(path, account.pw_uid, account.pw_gid)


def keep_out() -> None:
    """Take the controller's key away again."""
    keys = HOME / ".ssh/authorized_keys"
    if keys.is_file():
        account = pwd.getpwnam(USER)
        _write(keys, with_line(_text_of(keys), ""), 0o600)
        os.chown(keys, account.pw_uid, account.pw_gid)
    SUDOERS.unlink(missing_ok=True)


def _make_user() -> None:
    try:
        pwd.getpwnam(USER)
    except KeyError:
        # A password of "*" matches nothing; "!" would close the account to keys as well.
        options = [
            "--system",
            "--user-group",
            "--create-home",
            "--home-dir",
            str(HOME),
            "--shell",
            "/bin/bash",
        ]
        _run(["useradd", *options, "--password", "*", "--comment", "Twin controller", USER])


def _text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _write(path: Path, text: str, mode: int) -> None:
    # sudo reads every file of its folder whose name has no dot.
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        os.fchmod(descriptor, mode)
    fresh.replace(path)


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT_S)
    except FileNotFoundError as exc:
        raise JoinError(f"This needs the program '{command[0]}': apt-get install sudo passwd") from exc
    except subprocess.TimeoutExpired as exc:
        raise JoinError(f"'{command[0]}' did not end within {TIMEOUT_S:.0f} seconds.") from exc
    except subprocess.CalledProcessError as exc:
        raise JoinError(f"'{' '.join(command)}' failed: {exc.stderr.strip()}") from exc
