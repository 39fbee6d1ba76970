"""Root's side: take requests from the spool, write them into the inventory, run the playbook.

It owns the order of the steps and what is undone when one fails. The request is believed only with a token
of the store, so that the service, which has no rights, cannot invent machines.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import logging
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .spool import Request, Spool, State
from .tokens import JoinError, Store

EDIT_TIMEOUT_S = 60.0
PLAYBOOK_TIMEOUT_S = 7200.0
"""Longest provisioning of a machine (seconds); an old desktop fetches and unpacks for half an hour."""
LATE_S = 900.0
"""A request may be taken this long after its token's end (seconds): machines queue."""
PROBE_TIMEOUT_S = 4.0
SSH_PORT = 22

TROUBLE = (JoinError, OSError, subprocess.SubprocessError)
"""What may go wrong with a request: a full disk and a program that hangs are told like a refusal."""

log = logging.getLogger("twin-provision")


@dataclass(frozen=True, slots=True)
class Plan:
    """What the role wrote down about this controller."""

    checkout: Path
    """The installed copy of the product: playbooks, roles, code."""
    inventory: Path
    """The cluster's inventory."""
    also: Path | None
    """A checkout's inventory on this machine that the playbook was last run with; it gets the same change."""
    variables: Path
    """Variables that every run is given."""
    known_hosts: Path
    python: Path
    """Python with Ansible; ansible-playbook is beside it."""
    user: str
    """Whom Ansible is on a joined machine."""
    lock: Path = Path("/opt/twin")
    """The folder that runs which change the cluster lock."""

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Read the role's file.

        Raises:
            JoinError: It is not there or not whole.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            paths = {
                name: Path(data[name])
                for name in ("checkout", "inventory", "variables", "known_hosts", "python")
            }
            return cls(also=Path(data["also"]) if data["also"] else None, user=str(data["user"]), **paths)
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise JoinError(f"{path} cannot be read; run the playbook again: it writes this file.") from exc


def pin(known_hosts: Path, request: Request) -> None:
    """Write the machine's ssh host keys down in place of what was known of its address."""
    old = known_hosts.read_text(encoding="ascii").splitlines() if known_hosts.is_file() else []
    lines = [line for line in old if line.split(" ", 1)[0] != request.address]
    lines += [f"{request.address} {key}" for key in request.host_keys]
    fresh = known_hosts.with_name(f".{known_hosts.name}.new")
    fresh.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
    fresh.chmod(0o600)
    fresh.replace(known_hosts)


def edit_inventory(plan: Plan, path: Path, *arguments: str) -> bool:
    """Change an inventory by its own program; return whether it changed.

    Raises:
        JoinError: The change is refused, with its sentence.
    """
    action, *rest = arguments
    environment = {"PYTHONPATH": str(plan.checkout / "ansible/module_utils"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [str(plan.python), "-m", "inventory_file", action, str(path), *rest],
        env=environment,
        capture_output=True,
        text=True,
        timeout=EDIT_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise JoinError(done.stderr.strip().removeprefix("inventory: ") or "The inventory cannot be changed.")
    return done.stdout.strip() == "changed"


def addresses_of(inventory: str) -> dict[str, tuple[str, int]]:
    """Names, addresses and ssh ports of the machines of an inventory, by its lines."""
    found: dict[str, tuple[str, int]] = {}
    name = ""
    for line in inventory.splitlines():
        if match := re.fullmatch(r" {4}([a-z0-9-]+):.*", line):
            name = match[1]
        elif name and (match := re.fullmatch(r" +ansible_host: '?([0-9A-Fa-f.:]+)'?.*", line)):
            found[name] = (match[1], SSH_PORT)
        elif name in found and (match := re.fullmatch(r" +ansible_port: '?(\d+)'?.*", line)):
            found[name] = (found[name][0], int(match[1]))
    return found


def out_of_reach(machines: Iterable[tuple[str, str, int]]) -> list[str]:
    """The names of those whose ssh port does not answer."""
    silent = []
    for name, address, port in machines:
        try:
            socket.create_connection((address, port), timeout=PROBE_TIMEOUT_S).close()
        except OSError:
            silent.append(name)
    return silent


def playbook_command(plan: Plan, silent: list[str]) -> list[str]:
    """The command line that sets every machine up but those that are out of reach."""
    command = [
        str(plan.python.parent / "ansible-playbook"),
        "-i",
        str(plan.inventory),
        "-e",
        f"@{plan.variables}",
    ]
    if silent:
        command += ["--limit", ",".join(["all", *(f"!{name}" for name in silent)])]
    return [*command, str(plan.checkout / "playbook.yaml")]


def failure_of(log_text: str) -> str:
    """The first failed step of a run and what it said, in a line."""
    lines = [re.sub(r"^\[ *\d+:\d\d\] ", "", line).strip() for line in log_text.splitlines()]
    for number, line in enumerate(lines):
        if line.endswith(": FAILED"):
            following = itertools.takewhile(lambda text: not text.startswith("--"), lines[number + 1 :])
            said = " ".join(itertools.islice(following, 3))
            return f"{line.removesuffix(': FAILED')}: {said}"[:600]
        if " cannot be reached: " in line:
            return line[:600]
    return next((line for line in reversed(lines) if line), "It said nothing.")[:600]


class Provisioner:
    """Takes requests, one after the other.

    Args:
        folder: Of the spool and the store.
        plan: How the playbook is run here.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        self._store, self._spool, self._plan = Store(folder), Spool(folder), plan

    def run(self) -> bool:
        """Take every waiting request; return whether all went well.

        What an earlier run began and did not end is undone first: a power cut must leave nobody waiting.

        Raises:
            OSError: The spool cannot be read.
        """
        with self._spool.alone(), self._locked():
            return self._run()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of runs that change the cluster (runlock.py); wait while another has it."""
        descriptor = os.open(self._plan.lock, os.O_RDONLY | os.O_DIRECTORY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.info("another run of ansible-playbook is at work; waiting until it has ended")
                for path in self._spool.waiting():
                    if re.fullmatch(r"[a-z2-7]{6}", path.stem):
                        said = "Waiting until another run on the controller has ended.\n"
                        self._spool.log_path(path.stem).write_text(said, encoding="utf-8")
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _run(self) -> bool:
        for name, added in self._spool.left_over().items():
            self._undo(name, added)
        well = True
        while waiting := list(self._spool.waiting()):
            for path in waiting:
                well = self._one(path) and well
        return well

    def _undo(self, name: str, added: str) -> None:
        sentence = "The controller stopped while it set this machine up. Join again with a new token."
        log.error(
            "request %s was not ended; %s", name, f"{added} is taken out again" if added else "it failed"
        )
        try:
            if added and added in addresses_of(self._plan.inventory.read_text(encoding="utf-8")):
                edit_inventory(self._plan, self._plan.inventory, "remove", added)
        except TROUBLE as exc:
            log.error("%s could not be taken out of %s: %s", added, self._plan.inventory, exc)
        self._spool.end(name)
        if self._spool.state(name).state != "done":
            self._spool.set_state(name, State("failed", sentence))

    def _one(self, path: Path) -> bool:
        name = path.stem if re.fullmatch(r"[a-z2-7]{6}", path.stem) else ""
        try:
            request = self._spool.take(path)
            reason = self._store.refusal(request.parts, now_s=time.time() - LATE_S, may_be_used=True)
            if reason:
                raise JoinError(f"The request's token is {reason}.")
            self._provision(request)
        except TROUBLE as exc:
            log.error("not joined: %s", exc)
            if name:
                self._spool.end(name)
                self._spool.set_state(name, State("failed", str(exc)))
            return False
        return True

    def _provision(self, request: Request) -> None:
        plan, name = self._plan, request.parts.id
        log.info("%s (%s) joins", request.hostname, request.address)
        self._spool.set_state(name, State("running", "The controller sets this machine up."))
        entry = [request.hostname, f"ansible_host={request.address}", f"ansible_user={plan.user}"]
        known = addresses_of(plan.inventory.read_text(encoding="utf-8"))
        self._spool.begin(name, "" if request.hostname in known else request.hostname)
        added = False
        try:
            added = edit_inventory(plan, plan.inventory, "add", *entry)
            pin(plan.known_hosts, request)
            self._play(request)
        except TROUBLE as exc:
            if not added:
                raise
            edit_inventory(plan, plan.inventory, "remove", request.hostname)
            raise JoinError(
                f"{exc} {request.hostname} was taken out of the inventory again. When this is put right, "
                "join with a new token."
            ) from exc
        self._spool.end(name)
        sentence = f"{request.hostname} is part of the cluster." + self._tell_checkout(entry)
        self._spool.set_state(name, State("done", sentence))
        log.info("%s is part of the cluster", request.hostname)

    def _tell_checkout(self, entry: list[str]) -> str:
        """Change the checkout's own inventory too; return a sentence about it when that does not work."""
        also = self._plan.also
        if also is None or not also.is_file() or also.resolve() == self._plan.inventory.resolve():
            return ""
        try:
            edit_inventory(self._plan, also, "add", *entry)
        except JoinError as exc:
            log.warning("the inventory %s was not changed: %s", also, exc)
            return f" (The inventory {also} was not changed: {exc})"
        return ""

    def _play(self, request: Request) -> None:
        plan, path = self._plan, self._spool.log_path(request.parts.id)
        machines = addresses_of(plan.inventory.read_text(encoding="utf-8"))
        own = local_addresses()
        silent = out_of_reach(
            (host, address, port) for host, (address, port) in machines.items()
            if host != request.hostname and address not in own
        )  # fmt: skip
        with path.open("a", encoding="utf-8") as file:
            if silent:
                file.write(
                    f"Out of reach and left out: {', '.join(silent)}. Run the playbook when they are back.\n"
                )
            file.flush()
            try:
                done = subprocess.run(
                    playbook_command(plan, silent),
                    cwd=plan.checkout,
                    env=_environment(plan),
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    timeout=PLAYBOOK_TIMEOUT_S,
                    check=False,
                )
            except subprocess.TimeoutExpired as exc:
                raise JoinError(
                    f"The playbook did not end within {PLAYBOOK_TIMEOUT_S / 3600:.0f} hours."
                ) from exc
        if done.returncode != 0:
            raise JoinError(
                f"A step failed: {failure_of(path.read_text(encoding='utf-8', errors='replace'))}"
            )


def local_addresses() -> set[str]:
    """The addresses of this machine."""
    done = subprocess.run(
        ["ip", "-o", "addr", "show"], capture_output=True, text=True, timeout=EDIT_TIMEOUT_S, check=False
    )
    return {words[3].split("/")[0] for line in done.stdout.splitlines() if len(words := line.split()) > 3}


def _environment(plan: Plan) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    config = str(plan.checkout / "ansible.cfg")
    ours = {"ANSIBLE_CONFIG": config, "LC_ALL": "C.UTF-8", "HOME": os.path.expanduser("~root")}
    # The lock is held by this process.
    return kept | ours | {"PYTHONUNBUFFERED": "1", "TWIN_RUN_LOCK": ""}
