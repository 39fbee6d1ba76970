"""What passes between the service, which has no rights, and root, which does the work.

It owns the request (its fields and their rules, checked on both sides) and the state that comes back. Root
opens what the service wrote without following links and believes nothing but what the rules let through.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .tokens import JoinError, Parts, parse

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
HOST_KEY = re.compile(
    r"(ssh-ed25519|ecdsa-sha2-nistp(?:256|384|521)|ssh-rsa|rsa-sha2-(?:256|512)) [A-Za-z0-9+/]{40,1400}={0,3}"
)
MAX_REQUEST_BYTES = 16384
MAX_HOST_KEYS = 6
MAX_LOG_BYTES = 65536
"""How much of a log one answer carries (bytes)."""
BEGUN = ".begun"
"""Ends the name of the file that is there while root works on a request; twin-provision.path looks for it."""
STATES = ("waiting", "running", "done", "failed")


@dataclass(frozen=True, slots=True)
class Request:
    """A machine that wants to join."""

    token: str
    hostname: str
    address: str
    host_keys: tuple[str, ...]
    """Its ssh host keys: type and key, no comment."""

    @property
    def parts(self) -> Parts:
        """Its token, taken apart."""
        return parse(self.token)


@dataclass(frozen=True, slots=True)
class State:
    """How far a request is."""

    state: str
    sentence: str


def read_request(data: Any) -> Request:
    """Check what a machine sent.

    Raises:
        JoinError: With what is wrong.
    """
    if not isinstance(data, Mapping) or data.keys() != {"token", "hostname", "address", "host_keys"}:
        raise JoinError("The request has other fields than token, hostname, address and host_keys.")
    token, hostname, address, keys = (data[name] for name in ("token", "hostname", "address", "host_keys"))
    if not (isinstance(token, str) and isinstance(hostname, str) and isinstance(address, str)):
        raise JoinError("The token, the hostname and the address are texts.")
    parse(token)
    if not NAME.fullmatch(hostname) or hostname == "localhost":
        raise JoinError(
            f"The machine's name is {hostname[:64]!r}; in a cluster it has small letters, digits and dashes. "
            "Give it one (hostnamectl set-hostname attic) and join again."
        )
    try:
        ipaddress.ip_address(address)
    except ValueError as exc:
        raise JoinError(f"{address[:64]!r} is no address.") from exc
    if not isinstance(keys, list) or not 0 < len(keys) <= MAX_HOST_KEYS:
        raise JoinError("A machine sends between one and six ssh host keys.")
    if not all(isinstance(key, str) and HOST_KEY.fullmatch(key) for key in keys):
        raise JoinError("An ssh host key is its type and the key in base 64.")
    return Request(token, hostname, address, tuple(keys))


class Spool:
    """The folders of requests and states.

    Args:
        folder: Has `spool/` (the service writes) and `state/` (root writes).
    """

    def __init__(self, folder: Path) -> None:
        self._requests = folder / "spool"
        self._states = folder / "state"

    def put(self, request: Request) -> None:
        """Hand a request to root; it appears whole or not at all."""
        path = self._requests / f"{request.parts.id}.json"
        fresh = path.with_suffix(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(request), file)
        fresh.rename(path)

    def waiting(self) -> Iterator[Path]:
        """The requests that nobody has taken, the oldest first."""
        found = [entry for entry in os.scandir(self._requests) if entry.name.endswith(".json")]
        for entry in sorted(found, key=lambda entry: entry.stat(follow_symlinks=False).st_mtime):
            yield Path(entry.path)

    def take(self, path: Path) -> Request:
        """Read a request and remove it, as root.

        Raises:
            JoinError: It is no plain small file, or says what the rules do not let through.
        """
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise JoinError("The request is no plain file.")
                data = file.read(MAX_REQUEST_BYTES + 1)
        except OSError as exc:
            raise JoinError(f"The request cannot be read: {exc.strerror}.") from exc
        finally:
            path.unlink(missing_ok=True)
        if len(data) > MAX_REQUEST_BYTES:
            raise JoinError("The request is too large.")
        try:
            request = read_request(json.loads(data))
        except ValueError as exc:
            raise JoinError("The request is no JSON.") from exc
        if request.parts.id != path.stem:
            raise JoinError("The request is not named after its token.")
        return request

    def set_state(self, name: str, state: State) -> None:
        """Say how far a request is, as root; the service's group may read it."""
        path = self._states / f"{name}.json"
        fresh = path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        fresh.write_text(json.dumps(asdict(state)), encoding="utf-8")
        self._let_read(fresh)
        fresh.rename(path)

    def state(self, name: str) -> State:
        """How far a request is; `waiting` until root has taken it."""
        try:
            data = json.loads((self._states / f"{name}.json").read_text(encoding="utf-8"))
            return State(str(data["state"]), str(data["sentence"]))
        except (OSError, ValueError, KeyError, TypeError):
            return State("waiting", "Waiting for the controller to begin.")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let one process of root's work at a time; the kernel ends the lock with the process."""
        with (self._states / ".lock").open("w", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def begin(self, name: str, added: str) -> None:
        """Write down that a request is being worked on, as root.

        Args:
            name: Of the request.
            added: The machine that is new in the inventory with it; "" for one that is known there.
        """
        path = self._states / f"{name}{BEGUN}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(added)
            file.flush()
            os.fsync(descriptor)

    def end(self, name: str) -> None:
        """Write down that nobody works on a request any more."""
        (self._states / f"{name}{BEGUN}").unlink(missing_ok=True)

    def left_over(self) -> dict[str, str]:
        """Requests that somebody began and did not end, and the machine that each put into the inventory."""
        running = {
            path.stem: "" for path in self._states.glob("*.json") if self.state(path.stem).state == "running"
        }
        begun = {
            path.name.removesuffix(BEGUN): path.read_text(encoding="utf-8")
            for path in self._states.glob(f"*{BEGUN}")
        }
        return running | begun

    def log_path(self, name: str) -> Path:
        """The log of a request's provisioning, made when it is not there, as root."""
        path = self._states / f"{name}.log"
        path.touch()
        self._let_read(path)
        return path

    def log(self, name: str, offset: int) -> tuple[str, int]:
        """The log's text from `offset` (bytes), and the offset after it."""
        try:
            with (self._states / f"{name}.log").open("rb") as file:
                file.seek(max(0, offset))
                data = file.read(MAX_LOG_BYTES)
        except OSError:
            return "", 0
        whole = data.rpartition(b"\n")[0] + b"\n" if b"\n" in data else b""
        return whole.decode("utf-8", errors="replace"), max(0, offset) + len(whole)

    def _let_read(self, path: Path) -> None:
        path.chmod(0o640)
        os.chown(path, -1, self._states.stat().st_gid)
