"""Machines that tests boot: a fresh Debian each, with its own network, gone when the test ends.

It owns a machine's root (an overlay over a base image), its PID 1 and its way of running commands. What a
machine needs to reach the package registries (authority certificates, name servers, the settings of pip and
uv) is lent to it here: that is the test's business, not the product's.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from testing.hosts.images import IMAGES, ensure_image, hosts_folder
from testing.hosts.network import Network

BOOT_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
LENT_VARIABLES = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_CERT",
    "PIP_DEFAULT_TIMEOUT",
    "PIP_DISABLE_PIP_VERSION_CHECK",
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "NPM_CONFIG_REGISTRY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
"""Settings of package clients that a machine is lent."""
LENT_FILES = ("/etc/resolv.conf", "/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")
NSPAWN = (
    "systemd-nspawn",
    "--quiet",
    "--register=no",
    "--keep-unit",
    "--resolv-conf=off",
    "--timezone=off",
    "--link-journal=no",
    "--console=passive",
    "--capability=all",
    # What starts containers: the rules for their devices, and their keyrings.
    "--system-call-filter=bpf",
    "--system-call-filter=@keyring",
    "--boot",
)
MASKED_UNITS = (
    "systemd-modules-load.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "console-getty.service",
)
"""Units that have no place here: the kernel is this machine's, and apt is the test's to run."""
BARE_BOOT = """mount --make-rprivate /
mount -t proc proc "$0/proc"
mount --rbind /sys "$0/sys"
mount --rbind /dev "$0/dev"
mount -t tmpfs tmpfs "$0/run"
mount -t tmpfs tmpfs "$0/tmp"
hostname "$1"
exec chroot "$0" bash -c "$2"
"""
BARE_INIT = "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done"
"""PID 1 of a machine without systemd: does nothing, and reaps who is orphaned."""


def cgroup_roots() -> list[Path]:
    """The cgroup trees that a machine's processes get a branch of their own in."""
    top = Path("/sys/fs/cgroup")
    if (top / "cgroup.procs").exists():
        return [top]
    return [top / name for name in ("systemd", "unified") if (top / name / "cgroup.procs").exists()]


def remove_cgroup(cgroup: Path) -> None:
    """Remove a branch of the cgroup tree; the last processes in it may take a moment to be gone."""
    deadline_s = time.monotonic() + STOP_TIMEOUT_S
    while cgroup.exists() and time.monotonic() < deadline_s:
        folders = [path for path in cgroup.rglob("*") if path.is_dir()]
        for folder in [*sorted(folders, key=lambda path: -len(path.parts)), cgroup]:
            with contextlib.suppress(OSError):
                folder.rmdir()
        if cgroup.exists():
            time.sleep(0.2)


class Machine:
    """One fresh machine, up from construction to `close`.

    Args:
        image: A name in `IMAGES`.
        network: The bridge that it is on.
        lent: Folders of this machine that it sees, by their path there; `+` before a path makes it writable.
        layers: What machines before it wrote on the image, kept by `save`; the last one is on top.
    """

    def __init__(
        self,
        image: str,
        network: Network,
        lent: Mapping[str, Path] | None = None,
        layers: Sequence[Path] = (),
    ) -> None:
        self.image = IMAGES[image]
        base = ensure_image(image)
        self._network = network
        self._namespace, self.address = network.add_host()
        self.name = f"{image}-{self.address.rsplit('.', 1)[1]}"
        runs = hosts_folder() / "run"
        runs.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=runs))
        self.root = self._folder / "root"
        self._cgroups: list[Path] = []
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._mount([base, *layers])
            self._lend(lent or {})
            self._prepare()
            self._boot()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def command(self, *command: str) -> list[str]:
        """The command line that runs `command` on the machine, as root, with a login's environment."""
        lent = [f"{name}={os.environ[name]}" for name in LENT_VARIABLES if name in os.environ]
        environment = [
            "env",
            "-i",
            "HOME=/root",
            "LANG=C.UTF-8",
            "TERM=dumb",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ]
        return [
            "nsenter",
            f"--target={self._pid_one()}",
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            f"--root=/proc/{self._pid_one()}/root",
            f"--wd=/proc/{self._pid_one()}/root/root",
            *environment,
            *lent,
            *command,
        ]

    def run(
        self, *command: str, timeout_s: float = 60.0, log: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command; its output is returned, and written to `log` as it comes.

        Raises:
            RuntimeError: It ended with another status than 0; with the end of its output.
        """
        out = log or self._folder / "last.log"
        with out.open("w+", encoding="utf-8", errors="replace") as file:
            done = subprocess.run(
                self.command(*command),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
                check=False,
            )
            file.seek(0)
            text = file.read()
        if done.returncode != 0:
            end = "\n".join(text.splitlines()[-40:])
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode} on {self.name}:\n{end}")
        return subprocess.CompletedProcess(command, 0, text, "")

    def kill(self) -> None:
        """End the whole machine at once, as a power cut does; its disk stays for `start`."""
        assert self._process is not None
        os.kill(self._pid_one(), signal.SIGKILL)
        self._process.wait(STOP_TIMEOUT_S)

    def start(self) -> None:
        """Boot it again after `kill`, with the disk that it had."""
        self._boot()

    def cut(self) -> None:
        """Pull its network cable."""
        self._network.plug(self.address, is_in=False)

    def plug(self) -> None:
        """Put its network cable in again."""
        self._network.plug(self.address, is_in=True)

    def save(self, folder: Path) -> None:
        """Shut it down and keep what it has written on its disk, as a layer for others; `close` remains."""
        self._end()
        (self._folder / "upper").rename(folder)

    def close(self) -> None:
        """Stop it and remove it."""
        self._end()
        for cgroup in self._cgroups:
            remove_cgroup(cgroup)
        if not self._mounts():
            shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self) -> None:
        if self._process is not None:
            self._stop(self._process)
        for mount in self._mounts():
            subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)

    def _mount(self, layers: Sequence[Path]) -> None:
        for name in ("upper", "work", "root"):
            (self._folder / name).mkdir()
        below = ":".join(str(layer) for layer in reversed(layers))
        options = f"lowerdir={below},upperdir={self._folder}/upper,workdir={self._folder}/work"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(self.root)], check=True)

    def _lend(self, lent: Mapping[str, Path]) -> None:
        (self.root / "etc/hostname").write_text(self.name + "\n", encoding="utf-8")
        (self.root / "etc/hosts").write_text(
            f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n", encoding="utf-8"
        )
        for name in LENT_FILES:
            if Path(name).is_file():
                target = self.root / name.lstrip("/")
                target.unlink(missing_ok=True)
                shutil.copyfile(name, target)
        local = Path("/usr/local/share/ca-certificates")
        if local.is_dir():
            shutil.copytree(local, self.root / str(local).lstrip("/"), dirs_exist_ok=True)
        if self.image.has_systemd:
            (self.root / "etc/machine-id").write_text("", encoding="utf-8")
            for unit in MASKED_UNITS:
                mask = self.root / "etc/systemd/system" / unit
                mask.unlink(missing_ok=True)
                mask.symlink_to("/dev/null")
        for where, source in lent.items():
            target = self.root / where.lstrip("+/")
            target.mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", "--bind", str(source), str(target)], check=True)
            if not where.startswith("+"):
                subprocess.run(["mount", "-o", "remount,bind,ro", str(target)], check=True)

    def _prepare(self) -> None:
        """What a kind of machine writes to its disk before the first boot."""

    def _boot(self) -> None:
        entry = "".join(f"echo $$ > {self._own_cgroup(root)}/cgroup.procs; " for root in cgroup_roots())
        # Without its own branch of the cgroup tree the units of all machines would collide.
        environment = os.environ | {
            "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
            "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",
        }
        command = self._systemd_command() if self.image.has_systemd else self._bare_command()
        with (self._folder / "console.log").open("wb") as console:
            self._process = subprocess.Popen(
                ["bash", "-c", entry + 'exec "$@"', "cgroup", *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._wait_until_up()

    def _systemd_command(self) -> list[str]:
        return [
            *NSPAWN,
            f"--network-namespace-path=/run/netns/{self._namespace}",
            f"--machine={self.name}",
            f"--hostname={self.name}",
            f"--directory={self.root}",
        ]

    def _bare_command(self) -> list[str]:
        namespaces = ("--mount", "--pid", "--fork", "--uts", "--ipc", "--kill-child")
        enter = ["nsenter", f"--net=/run/netns/{self._namespace}", "unshare", *namespaces]
        return [*enter, "bash", "-c", BARE_BOOT, str(self.root), self.name, BARE_INIT]

    def _own_cgroup(self, root: Path) -> Path:
        cgroup = root / f"twin-{self._folder.name}"
        cgroup.mkdir(exist_ok=True)
        if cgroup not in self._cgroups:
            self._cgroups.append(cgroup)
        return cgroup

    def _wait_until_up(self) -> None:
        ready = ("systemctl", "is-system-running", "--wait") if self.image.has_systemd else ("true",)
        deadline_s = time.monotonic() + BOOT_TIMEOUT_S
        while time.monotonic() < deadline_s:
            if self._process is None or self._process.poll() is not None:
                break
            try:
                self.run(*ready, timeout_s=BOOT_TIMEOUT_S)
            except (RuntimeError, OSError):
                time.sleep(0.2)
                continue
            return
        console = (self._folder / "console.log").read_text(encoding="utf-8", errors="replace")
        raise RuntimeError(f"{self.name} did not come up:\n{console[-2000:]}")

    def _pid_one(self) -> int:
        """The machine's PID 1, as this machine numbers it.

        Raises:
            OSError: It is not there yet, or gone.
        """
        assert self._process is not None
        pid = self._process.pid
        namespace = os.readlink(f"/proc/{pid}/ns/pid")
        while os.readlink(f"/proc/{pid}/ns/pid") == namespace:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
            if not children:
                raise OSError(f"{self.name} has no PID 1")
            pid = int(children[0])
        return pid

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None and not self.image.has_systemd:
            try:
                os.kill(self._pid_one(), signal.SIGKILL)
            except OSError:
                process.kill()
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            # Its PID 1 first: with that, everything that runs in it ends.
            with contextlib.suppress(OSError):
                os.kill(self._pid_one(), signal.SIGKILL)
            process.kill()
            process.wait(STOP_TIMEOUT_S)

    def _mounts(self) -> Sequence[str]:
        """What is mounted in the machine's folder, innermost first."""
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
        points = [line.split()[1].replace("\\040", " ") for line in lines]
        return sorted((point for point in points if point.startswith(f"{self._folder}/")), reverse=True)
