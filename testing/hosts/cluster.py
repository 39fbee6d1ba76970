"""Several machines with systemd and ssh, and Ansible run against them as the owner of a house runs it.

It owns the machines' ssh keys (each host's key is pinned before the first connection), the inventory in a
temporary folder and the runs of ansible-playbook; what the playbooks do is theirs.

Usage: python -m testing.hosts.cluster [COUNT [CONTROLLERS]]
"""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import yaml

from testing.hosts.images import hosts_folder
from testing.hosts.machines import LENT_VARIABLES, Machine
from testing.hosts.network import Network

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK_TIMEOUT_S = 1800.0
LENT_MODELS = "+/opt/twin/models"
"""How a node is lent its folder of models (see `Machine`)."""
CHANGE = re.compile(r": done \(|changed=[1-9]")
"""What stands in a line about a change, or about a host with any."""
COUNTS = re.compile(r"-- (?P<host>\S+): (?P<numbers>(?:\w+=\d+ ?)+)")
"""The last lines of a run: a host and its numbers (ansible/callback_plugins/steps.py)."""


@dataclass(frozen=True, slots=True)
class Played:
    """A run of ansible-playbook that has ended."""

    status: int
    output: str
    took_s: float

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Numbers (`ok`, `changed`, `failed`, `unreachable`) by host."""
        found = COUNTS.finditer(self.output)
        pairs = {match["host"]: re.findall(r"(\w+)=(\d+)", match["numbers"]) for match in found}
        return {host: {name: int(number) for name, number in numbers} for host, numbers in pairs.items()}

    @property
    def changed(self) -> int:
        """Changes on all hosts together."""
        return sum(numbers["changed"] for numbers in self.counts.values())

    @property
    def changes(self) -> list[str]:
        """The lines that tell of changes: one for each, and one for each host that had any."""
        return [line for line in self.output.splitlines() if CHANGE.search(line)]


class Node(Machine):
    """A machine that a key opens by ssh; its own host key is in `host_key`.

    Args:
        network: The bridge that it is on.
        public_key: What opens it.
        lent: Folders of this machine that it sees (see `Machine`).
        image: A name in `IMAGES`.
        layers: What is on its disk beside the image (see `Machine`).
        is_new: Whether it gets host keys of its own; else those on its disk are its own.
    """

    def __init__(
        self,
        network: Network,
        public_key: str,
        lent: Mapping[str, Path] | None = None,
        image: str = "node",
        layers: Sequence[Path] = (),
        *,
        is_new: bool = True,
    ) -> None:
        self._public_key = public_key
        self._is_new = is_new
        super().__init__(image, network, lent, layers)

    @property
    def host_key(self) -> str:
        """Its line in a file of known hosts."""
        key = (self.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text(encoding="ascii").split()
        return f"{self.address} {key[0]} {key[1]}\n"

    def _prepare(self) -> None:
        if self._is_new:
            for key in (self.root / "etc/ssh").glob("ssh_host_*"):
                key.unlink()
            subprocess.run(["ssh-keygen", "-A", "-f", str(self.root)], check=True, capture_output=True)
        folder = self.root / "root/.ssh"
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / "authorized_keys").write_text(self._public_key, encoding="ascii")
        with (self.root / "etc/environment").open("a", encoding="utf-8") as file:
            file.writelines(f"{name}={value}\n" for name, value in registry_settings().items())


def registry_settings() -> dict[str, str]:
    """Settings of package clients that a login on a node has; uv does not read pip's own file."""
    settings = {name: os.environ[name] for name in LENT_VARIABLES if os.environ.get(name)}
    pip = configparser.ConfigParser(strict=False)
    pip.read(["/etc/pip.conf"])
    index = pip.get("global", "index-url", fallback="")
    return ({"UV_DEFAULT_INDEX": index} if index else {}) | settings


def warm_caches(name: str = "node") -> dict[str, Path]:
    """Folders of downloads to lend to nodes, kept between runs."""
    warm = hosts_folder() / "warm" / name
    lent = {"+/var/cache/twin/uv": warm / "uv", LENT_MODELS: warm / "models"}
    for folder in lent.values():
        folder.mkdir(parents=True, exist_ok=True)
    return lent


def built_programs() -> dict[str, Path]:
    """The programs that this machine has built, for a first controller; the others take them from there."""
    built = hosts_folder().parent / "artifacts"
    built.mkdir(parents=True, exist_ok=True)
    return {"+/opt/twin/programs/artifacts": built}


class Cluster:
    """Nodes on a network of their own, up from construction to `close`.

    Args:
        count: Nodes, > 0.
        number: The network's number (see `Network`).
        controllers: How many of them, from the first, are controllers in the inventory; the rest are workers.
        lent: Folders of this machine that every node sees (see `Machine`).
        first_lent: The same for the first node alone.
        layers: What is on every node's disk beside the image (see `Machine`).
        disks: What each of the first `count` nodes has on its own disk beside that.
    """

    def __init__(
        self,
        count: int,
        number: int | None = None,
        controllers: int = 1,
        lent: Mapping[str, Path] | None = None,
        first_lent: Mapping[str, Path] | None = None,
        layers: Sequence[Path] = (),
        disks: Sequence[Path] = (),
    ) -> None:
        self._layers = tuple(layers)
        self._disks = tuple(disks)
        self._lent = dict(lent or {})
        self._first_lent = dict(first_lent or {})
        self.hosts: list[Node] = []
        self.folder = Path(tempfile.mkdtemp(prefix="twin-cluster-"))
        self.inventory = self.folder / "inventory.yaml"
        self._key = self.folder / "key"
        self.network = Network(number)
        try:
            key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(self._key)]
            subprocess.run(key, check=True)
            (self.folder / "group_vars").symlink_to(ROOT / "group_vars")
            for _ in range(count):
                self.add_host()
            self.write_inventory(self.hosts[:controllers], self.hosts[controllers:])
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add_host(self, without: Sequence[str] = ()) -> Node:
        """Boot one more node; it is in `hosts`, not yet in the inventory.

        Args:
            without: What is lent to the others and not to it, by the path there.
        """
        public = self._key.with_suffix(".pub").read_text(encoding="ascii")
        lent = self._lent if self.hosts else self._lent | self._first_lent
        lent = {where: folder for where, folder in lent.items() if where not in without}
        own = self._disks[len(self.hosts) : len(self.hosts) + 1]
        node = Node(self.network, public, lent, layers=[*self._layers, *own], is_new=not own)
        self.hosts.append(node)
        with (self.folder / "known_hosts").open("a", encoding="ascii") as file:
            file.write(node.host_key)
        return node

    def remove_host(self, node: Node) -> None:
        """End a node for good; the inventory is the caller's."""
        self.hosts.remove(node)
        node.close()

    def write_inventory(self, controllers: Sequence[Machine], workers: Sequence[Machine]) -> None:
        """Say in the inventory what each node is; Ansible takes a node's address, key and user from it."""

        def group(nodes: Sequence[Machine]) -> dict[str, object]:
            return {
                "hosts": {node.name: {"ansible_host": node.address, "ansible_user": "root"} for node in nodes}
            }

        groups = {
            "controller_nodes": group(controllers),
            "worker_nodes": group(workers),
            "pxe_server": {"hosts": {}},
        }
        self.inventory.write_text("---\n" + yaml.safe_dump(groups, sort_keys=False), encoding="utf-8")

    def playbook(
        self,
        name: str,
        *arguments: str,
        variables: Mapping[str, object] | None = None,
        timeout_s: float = PLAYBOOK_TIMEOUT_S,
        log: Path | None = None,
        must_pass: bool = True,
    ) -> Played:
        """Run a playbook of this checkout (`playbook.yaml`, `playbooks/x.yaml`) against the inventory.

        Raises:
            RuntimeError: It failed and `must_pass`; with the end of its output.
        """
        began_s = time.monotonic()
        out = log or self.folder / f"{Path(name).stem}.log"
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("w+", encoding="utf-8", errors="replace") as file:
            done = subprocess.run(
                self.playbook_command(name, *arguments, variables=variables),
                cwd=ROOT,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
                check=False,
            )
            file.seek(0)
            text = file.read()
        played = Played(done.returncode, text, time.monotonic() - began_s)
        if must_pass and done.returncode != 0:
            end = "\n".join(text.splitlines()[-60:])
            raise RuntimeError(f"{name} ended with {done.returncode}:\n{end}")
        return played

    def playbook_command(
        self, name: str, *arguments: str, variables: Mapping[str, object] | None = None
    ) -> list[str]:
        """The command line of such a run, for who wants to start it in another way (with `environment`)."""
        extra = ["-e", json.dumps(dict(variables))] if variables else []
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        return self.outside(program, "-i", str(self.inventory), *extra, *arguments, str(ROOT / name))

    def environment(self) -> dict[str, str]:
        """What ansible-playbook needs beside its command line: this cluster's key and pinned host keys."""
        ours = ("ANSIBLE_", "TWIN_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return kept | {
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_PRIVATE_KEY_FILE": str(self._key),
            "ANSIBLE_SSH_COMMON_ARGS": shlex.join(self._ssh_options()),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "cp"),
            "LC_ALL": "C.UTF-8",
        }

    def outside(self, *command: str) -> list[str]:
        """The command line that runs `command` as a machine beside the nodes, on their network."""
        return self.network.command(*command)

    def ssh(self, node: Machine, *command: str, user: str = "root", has_terminal: bool = False) -> list[str]:
        """The command line that runs `command` on a node by ssh, at a terminal there when asked for."""
        options = ["-i", str(self._key), *self._ssh_options(), *(["-tt"] if has_terminal else [])]
        return self.outside("ssh", *options, f"{user}@{node.address}", "--", shlex.join(command))

    def close(self) -> None:
        """Stop and remove all of it."""
        for node in self.hosts:
            node.close()
        self.network.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _ssh_options(self) -> list[str]:
        known = f"UserKnownHostsFile={self.folder}/known_hosts"
        return ["-o", known, "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes"]


HELP = """\
  NAME COMMAND...      run a shell command on a node (its name, or its place from 1)
  all COMMAND...       the same on every node
  play NAME ARG...     run a playbook, such as: play playbook.yaml --check
  out COMMAND...       run a shell command beside the nodes, on their network
  kill|start|cut|plug NAME
  add                  boot one more node (not in the inventory)
  exit
"""


def obey(cluster: Cluster, line: str) -> None:
    """Carry out one line of the prompt."""
    first, _, rest = line.partition(" ")
    names = {node.name: node for node in cluster.hosts}
    names |= {str(place): node for place, node in enumerate(cluster.hosts, start=1)}
    if first == "play":
        arguments = shlex.split(rest)
        command = cluster.playbook_command(*arguments)
        subprocess.run(command, cwd=ROOT, env=cluster.environment(), check=False)
    elif first == "out":
        subprocess.run(cluster.outside("bash", "-c", rest), check=False)
    elif first == "add":
        sys.stdout.write(f"{cluster.add_host().name}\n")
    elif first in ("kill", "start", "cut", "plug") and rest in names:
        getattr(names[rest], first)()
    elif first == "all" or first in names:
        for node in cluster.hosts if first == "all" else [names[first]]:
            sys.stdout.write(f"== {node.name}\n" if first == "all" else "")
            sys.stdout.flush()
            subprocess.run(node.command("bash", "-c", rest or "exec bash -l"), check=False)
    else:
        sys.stdout.write(HELP)


def write_scripts(cluster: Cluster) -> list[Path]:
    """Put `play` and `on` beside the inventory: what `play` and NAME do here, from any other shell."""
    play, on = cluster.folder / "play", cluster.folder / "on"
    needed = {name: value for name, value in cluster.environment().items() if name.startswith("ANSIBLE_")}
    setting = shlex.join([f"{name}={value}" for name, value in needed.items()])
    plain = cluster.playbook_command("")[:-1]
    play.write_text(
        f'#!/bin/sh\ncd {ROOT} && exec env {setting} {shlex.join(plain)} "$@"\n', encoding="utf-8"
    )
    cases = "".join(
        f'{node.name} | {place}) exec {shlex.join(node.command("bash", "-c"))} "$*" ;;\n'
        for place, node in enumerate(cluster.hosts, start=1)
    )
    on.write_text(f'#!/bin/sh\nnode="$1"\nshift\ncase "$node" in\n{cases}esac\n', encoding="utf-8")
    for script in (play, on):
        script.chmod(0o700)
    return [play, on]


def main() -> None:
    """Boot, take commands, clean up."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    controllers = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with Cluster(count, controllers=controllers, lent=warm_caches()) as cluster:
        for node in cluster.hosts:
            sys.stdout.write(f"{node.name} at {node.address}\n")
        for script in write_scripts(cluster):
            sys.stdout.write(f"From another terminal: {script}\n")
        sys.stdout.write(HELP)
        while True:
            sys.stdout.write("cluster> ")
            sys.stdout.flush()
            line = sys.stdin.readline()
            if line.strip() in ("", "exit") and (not line or line.strip()):
                break
            if line.strip():
                obey(cluster, line.strip())


if __name__ == "__main__":
    main()
