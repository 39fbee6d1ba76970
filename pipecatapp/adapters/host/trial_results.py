"""Results of trials on this machine, kept for exactly one CPU and kernel.

It owns the file, one for each CPU and kernel, so that a machine that has changed begins anew and a folder
may be shared by several. Trying is its callers' business (`child_trial`).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from pipecatapp.adapters.host.cpu import CpuInfo
from pipecatapp.files import write_atomic

log = logging.getLogger(__name__)

FOLDER = "trials"
"""Folder below TWIN_CACHE_DIR."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides which instructions work.

    Args:
        cpu: The processor's name.
        flags: Its features in the spelling of /proc/cpuinfo.
        kernel: Release and version.
    """

    cpu: str
    flags: frozenset[str]
    kernel: str

    @property
    def key(self) -> str:
        """A short name of exactly this CPU under this kernel."""
        text = "\n".join([self.cpu, " ".join(sorted(self.flags)), self.kernel])
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def this_machine(cpu: CpuInfo) -> Machine:
    """Return the machine that this process runs on."""
    return Machine(cpu.model, cpu.flags, f"{platform.release()} {platform.version()}")


class Outcome(BaseModel):
    """What came of trying one thing.

    Args:
        build: Which build it was; another one is tried anew.
        reason: Why it cannot be used; "" when it can.
        set_aside: Parts of it that cannot be used, and why.
        uses: The part that is used in their place.
        environment: Variables without which it does not work.
        doubt: How it died after its trial; it is tried anew.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    build: str
    reason: str = ""
    set_aside: dict[str, str] = {}
    uses: str = ""
    environment: dict[str, str] = {}
    doubt: str = ""


class _File(BaseModel):
    cpu: str = ""
    kernel: str = ""
    tried: dict[str, Outcome] = {}


class TrialResults:
    """Outcomes on one machine.

    Args:
        folder: Where they are kept.
        machine: Whose they are.
    """

    def __init__(self, folder: Path, machine: Machine) -> None:
        self._machine = machine
        self._folder = folder
        self._path = folder / f"{machine.key}.json"
        self._unwritten: dict[str, Outcome] = {}

    @property
    def key(self) -> str:
        """A short name of this CPU under this kernel."""
        return self._machine.key

    @property
    def folder(self) -> Path:
        """Folder for what belongs to this CPU and kernel alone."""
        return self._folder / self._machine.key

    def recall(self, subject: str, build: str) -> Outcome | None:
        """Return what came of trying this build; None when it must be tried."""
        found = self.outcomes().get(subject)
        return found if found is not None and found.build == build and not found.doubt else None

    def outcomes(self) -> dict[str, Outcome]:
        """Return the outcome of each thing that was tried."""
        return self._read().tried | self._unwritten

    def keep(self, subject: str, outcome: Outcome) -> None:
        """Remember an outcome; where nothing can be written, as long as this process lasts."""
        self._change({subject: outcome})

    def doubt(self, subject: str, how: str) -> None:
        """Have a thing tried anew, for it died after its trial."""
        known = self.outcomes().get(subject)
        self._change({subject: (known or Outcome(build="")).model_copy(update={"doubt": how})})

    def forget(self) -> None:
        """Have everything tried anew."""
        self._unwritten.clear()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def one_at_a_time(self) -> Iterator[None]:
        """Wait until no other process tries anything: a trial takes memory, and its outcome serves both."""
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):
                make_folder(self._folder)
                path = self._folder / f".{self._machine.key}.lock"
                lock = stack.enter_context(path.open("a"))
                _give_to_owner(path)
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _read(self) -> _File:
        try:
            return _File.model_validate_json(self._path.read_bytes())
        except (OSError, ValidationError):
            return _File()

    def _change(self, entries: dict[str, Outcome]) -> None:
        tried = self._read().tried | entries
        file = _File(cpu=self._machine.cpu, kernel=self._machine.kernel, tried=tried)
        text = file.model_dump_json(indent=1) + "\n"
        try:
            make_folder(self._folder)
            write_atomic(self._path, text.encode(), 0o666, like_folder=True)
        except OSError as exc:
            log.warning(
                "What was tried cannot be kept", extra={"file": str(self._path), "error": exc.strerror}
            )
            self._unwritten.update(entries)
        else:
            for subject in entries:
                self._unwritten.pop(subject, None)


def make_folder(path: Path) -> None:
    """Make a folder and those above it; what root makes belongs to the owner of the folder that it is in.

    Raises:
        OSError: It cannot be made.
    """
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        _give_to_owner(path)


def _give_to_owner(path: Path) -> None:
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
