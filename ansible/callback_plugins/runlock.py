"""Let one run at a time change a cluster that is driven from its first controller.

It owns the lock: the kernel's (flock) on the folder /opt/twin, held by the process of ansible-playbook and
gone with it, however it ends. Machines that join take the same lock (roles/join, provision.py) and wait;
a run that a person starts is refused, with who holds it. A run from another machine is not seen here.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: runlock
type: notification
short_description: Let one run at a time change the cluster
description:
  - On a first controller, holds a lock on the folder /opt/twin while a playbook runs that changes something.
  - A play that changes nothing says so by its variable twin_looks_only.
  - TWIN_RUN_LOCK names another folder; empty, no lock is taken, because who started the run has it.
"""

FOLDER = Path("/opt/twin")
PLAN = Path("/etc/twin/join.json")
"""What only a first controller has."""
LOOKS_ONLY = "twin_looks_only"
"""Variable of a play that changes nothing; a playbook of such plays takes no lock."""


def folder_of(environment: dict[str, str]) -> Path | None:
    """The folder to lock, if any."""
    if "TWIN_RUN_LOCK" in environment:
        return Path(environment["TWIN_RUN_LOCK"]) if environment["TWIN_RUN_LOCK"] else None
    return FOLDER if PLAN.is_file() and FOLDER.is_dir() else None


def holder_of(folder: Path) -> str:
    """Who holds the lock, since when, and by which command; from the kernel's own list."""
    inode = folder.stat().st_ino
    for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
        words = line.split()
        if words[1] == "FLOCK" and int(words[5].rsplit(":", 1)[1]) == inode:
            command = ["ps", "-o", "user=,lstart=", "-p", words[4]]
            said = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
            return f"process {words[4]}: {' '.join(said.split())} {what_runs(words[4])}"
    return "another process"


def what_runs(process: str) -> str:
    """The command of a process, with the names of files for their paths; "" when it has ended."""
    try:
        words = Path(f"/proc/{process}/cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
    except OSError:
        return ""
    return " ".join(Path(word).name if word.startswith("/") else word for word in words).strip()[:200]


def looks_only(plays: Iterable[Any]) -> bool:
    """Whether every play says that it changes nothing."""
    return all(play.get_vars().get(LOOKS_ONLY) is True for play in plays)


class CallbackModule(CallbackBase):
    """The notification callback."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "runlock"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._descriptor = -1

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Take the lock, once for all playbooks of this run.

        Raises:
            SystemExit: Another run has it.
        """
        folder = folder_of(dict(os.environ))
        if folder is None or self._descriptor >= 0 or looks_only(playbook.get_plays()):
            return
        self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._display.error(
                f"Another run is changing this cluster ({holder_of(folder)}). Nothing was done; start this "
                "one again when that has ended.",
                wrap_text=False,
            )
            raise SystemExit(1) from None
