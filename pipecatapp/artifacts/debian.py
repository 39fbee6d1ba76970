"""Taking one package out of a Debian suite that this machine does not use.

It owns asking apt with lists of its own, so that nothing of the machine's own configuration changes, and
unpacking. Nothing of the package is installed, and none of its scripts runs.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from pipecatapp.artifacts.model_schema import DebianSource
from pipecatapp.artifacts.registry_client import CarrierError, run_client
from pipecatapp.errors import ArtifactError

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
"""Keys of the archive, also of suites that have ended; package `debian-archive-keyring`."""
SOURCES = Path("/etc/apt")
"""Where this machine's own mirror is named."""
UNPACK_TIMEOUT_S = 300.0
"""Time to unpack a package of 100 MB on an old disk."""


def fetch_deb(source: DebianSource, work: Path, on_bytes: Callable[[int], None]) -> Path:
    """Return the package's archive, fetched into `work`.

    Raises:
        CarrierError: There is no apt, or the suite no longer has the package.
    """
    if shutil.which("apt-get") is None:
        raise CarrierError("there is no apt-get; this source works on Debian and its relatives only")
    archive = archive_of()
    if not archive:
        raise CarrierError("this machine's apt names no Debian mirror")
    for name in ("lists/partial", "cache/archives/partial", "empty", "tmp", "out"):
        (work / name).mkdir(parents=True, exist_ok=True)
    signed = f" [signed-by={KEYRING}]" if KEYRING.is_file() else ""
    (work / "sources.list").write_text(f"deb{signed} {archive} {source.suite} main\n", encoding="utf-8")
    options = {
        "Dir::Etc::sourcelist": work / "sources.list",
        "Dir::Etc::sourceparts": work / "empty",
        "Dir::Etc::preferencesparts": work / "empty",
        "Dir::State::lists": work / "lists",
        "Dir::Cache": work / "cache",
        "Acquire::Languages": "none",
        # An ended suite's lists are never renewed; their signature still holds.
        "Acquire::Check-Valid-Until": "false",
        "APT::Sandbox::User": "",
    }
    apt = ["apt-get", "--quiet", *(f"-o{name}={value}" for name, value in options.items())]
    run_client([*apt, "update"], work, lambda count: None)
    command = ["env", "-C", str(work / "out"), *apt, "download", f"{source.package}={source.version}"]
    run_client(command, work, on_bytes)
    found = list((work / "out").glob("*.deb"))
    if len(found) != 1:
        raise CarrierError(f"apt-get brought {len(found)} files of {source.package}, not one")
    return found[0]


def archive_of(folder: Path = SOURCES) -> str:
    """Return the Debian mirror that this machine is set up for, "" when its apt names none."""
    for path in [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]:
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            match = re.search(r"^(?:URIs:|deb\b.*?)\s*(https?://\S+/debian)/?\s", text, re.MULTILINE)
            if match:
                return match[1]
    return ""


def unpack_deb(archive: Path, target: Path) -> Path:
    """Unpack a package's files into `target` and return it.

    Raises:
        ArtifactError: There is no dpkg-deb, or it is no package.
    """
    shutil.rmtree(target, ignore_errors=True)
    try:
        finished = subprocess.run(
            ["dpkg-deb", "--extract", str(archive), str(target)],
            capture_output=True,
            text=True,
            timeout=UNPACK_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise ArtifactError("bad-archive", f"{archive.name} cannot be unpacked: {exc}") from exc
    if finished.returncode != 0:
        raise ArtifactError("bad-archive", f"{archive.name} cannot be unpacked: {finished.stderr.strip()}")
    return target
