"""The machine of a scenario: `create` boots it, `destroy` removes it, in between a process keeps it.

It owns that process, and what Ansible needs to reach the machine: an inventory with its key and its pinned
host key, an ssh that goes by the machine's network, and `outside`, which runs a command as a stranger there.

Usage: python -m testing.molecule.machine start|stop FOLDER [LAYER]
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import yaml

from testing.hosts.cluster import ROOT, Cluster
from testing.hosts.images import hosts_folder
from testing.molecule.layers import boot, ensure_layers

OWNER = "TWIN_MOLECULE_OWNER"
"""Variable with the id of a process; when that is gone, the machine goes too."""
POLL_S = 0.2
STOP_TIMEOUT_S = 60.0


def start(folder: Path, layer: str) -> None:
    """Boot a machine and return when it is up; a process of its own keeps it.

    Raises:
        SystemExit: It did not come up; with the end of the log.
    """
    stop(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("inventory.yaml", "pid"):
        (folder / name).unlink(missing_ok=True)
    with (folder / "machine.log").open("wb") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "testing.molecule.machine", "keep", str(folder), layer],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    (folder / "pid").write_text(str(keeper.pid), encoding="ascii")
    while not (folder / "inventory.yaml").exists():
        if keeper.poll() is not None:
            raise SystemExit((folder / "machine.log").read_text(encoding="utf-8", errors="replace")[-4000:])
        time.sleep(POLL_S)


def stop(folder: Path) -> None:
    """Remove the machine; nothing when there is none."""
    file = folder / "pid"
    if not file.exists():
        return
    pid = int(file.read_text(encoding="ascii"))
    deadline_s = time.monotonic() + STOP_TIMEOUT_S
    with contextlib.suppress(ProcessLookupError):
        if _is_keeper(pid):
            os.kill(pid, signal.SIGTERM)
        while _is_keeper(pid) and time.monotonic() < deadline_s:
            time.sleep(POLL_S)
    file.unlink(missing_ok=True)


def keep(folder: Path, layer: str) -> None:
    """Boot, write how the machine is reached, wait for the end, clean up."""
    owner = int(os.environ.get(OWNER, "0"))
    signal.signal(signal.SIGTERM, _end)
    layers = ensure_layers(layer)
    with _engine_folder() as engine, boot(layer, layers, {"+/var/lib/docker": engine}) as cluster:
        write_inventory(cluster, folder)
        while not owner or Path(f"/proc/{owner}").exists():
            time.sleep(POLL_S)


@contextlib.contextmanager
def _engine_folder() -> Iterator[Path]:
    """A plain folder for the container engine's images: its overlays cannot lie on the machine's."""
    with tempfile.TemporaryDirectory(
        prefix="engine-", dir=hosts_folder(), ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)


def write_inventory(cluster: Cluster, folder: Path) -> None:
    """Write an inventory with which Ansible needs nothing else to reach the machine."""
    ssh, outside = folder / "ssh", folder / "outside"
    for script, command in ((ssh, cluster.outside("ssh")), (outside, cluster.outside())):
        script.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n', encoding="utf-8")
        script.chmod(0o700)
    settings = cluster.environment()
    groups = yaml.safe_load(cluster.inventory.read_text(encoding="utf-8"))
    groups["all"] = {
        "vars": {
            "ansible_ssh_private_key_file": settings["ANSIBLE_PRIVATE_KEY_FILE"],
            "ansible_ssh_common_args": settings["ANSIBLE_SSH_COMMON_ARGS"],
            "ansible_control_path_dir": settings["ANSIBLE_SSH_CONTROL_PATH_DIR"],
            "ansible_ssh_executable": str(ssh),
            # By ssh itself: sftp would not find the machine's network.
            "ansible_ssh_transfer_method": "piped",
        }
    }
    variables = folder / "group_vars"
    variables.unlink(missing_ok=True)
    variables.symlink_to(ROOT / "group_vars")
    new = folder / "inventory.new"
    new.write_text("---\n" + yaml.safe_dump(groups, sort_keys=False), encoding="utf-8")
    new.rename(folder / "inventory.yaml")


def _is_keeper(pid: int) -> bool:
    """Whether this process lives and is one of ours: numbers are given out again."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"testing.molecule.machine" in command


def _end(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def main() -> None:
    """Do what the command line says."""
    verb, folder = sys.argv[1], Path(sys.argv[2])
    if verb == "stop":
        stop(folder)
    elif verb in ("start", "keep"):
        {"start": start, "keep": keep}[verb](folder, sys.argv[3])
    else:
        raise SystemExit(f"unknown verb '{verb}'; known: start, stop")


if __name__ == "__main__":
    main()
