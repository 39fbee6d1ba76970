"""Builds published Go modules into a program.

It owns fetching the modules that our `go.mod` and `go.sum` pin, compiling, and saying how far it is. The
settings of Go's registries (GOPROXY, GOFLAGS, GONOSUMDB and the like) are the environment's. Which Go is used
is `go_tool`'s business, where the result is kept `artifact_store`'s.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from pipecatapp.artifacts.artifact_schema import GoArtifact
from pipecatapp.artifacts.cmake_build import NICENESS
from pipecatapp.artifacts.commands import run_logged
from pipecatapp.artifacts.disk import Workspace
from pipecatapp.artifacts.go_tool import GoFinder, GoTool
from pipecatapp.artifacts.progress import Progress
from pipecatapp.errors import ArtifactError

LINKER_FLAGS = "-s -w"
"""Without symbol tables: a third smaller, and stack traces are still readable."""
WARM_SHARE = 2
"""With its modules already here a build takes less than this part of its room (nomad: 1.6 of 3.8 GB)."""

_GO_LINE = re.compile(r"^go (\d+(?:\.\d+)*)\s*$", re.MULTILINE)
_REQUIREMENT = re.compile(r"^\s*(?:require\s+)?[a-z0-9][^\s()]*\.[^\s()]+ v\d", re.MULTILINE)


class GoBuilder:
    """Builds one Go artefact in one folder.

    Args:
        artifact: What to build.
        catalogue_dir: Folder that the module's path is below.
        folder: For the log, the linker's temporary files and the result.
        finder: Finds the Go tool.
        progress: Where to report.
        jobs: Compilers at once, >= 1.
    """

    def __init__(
        self,
        artifact: GoArtifact,
        catalogue_dir: Path,
        folder: Path,
        finder: GoFinder,
        progress: Progress,
        *,
        jobs: int,
    ) -> None:
        self._artifact = artifact
        self._module = catalogue_dir / artifact.go.module
        self._folder = folder
        self._finder = finder
        self._progress = progress
        self._jobs = jobs
        self.go_version = ""

    def build(self) -> Path:
        """Build and return the folder of the program.

        Raises:
            ArtifactError: The pinned files are not as the catalogue says, there is no Go tool, the disk is
                too small, or a step failed.
        """
        pins = self._pins()
        tool = self._finder.find(wanted_version(pins))
        self.go_version = tool.version
        self._require_space(tool)
        for name in ("tmp", "bin"):
            shutil.rmtree(self._folder / name, ignore_errors=True)
            (self._folder / name).mkdir(parents=True)
        packages = self._list_packages(tool, len(_REQUIREMENT.findall(pins)))
        self._compile(tool, packages)
        return self._folder / "bin"

    def _pins(self) -> str:
        """Return the text of `go.mod`, once it and `go.sum` are proven."""
        text, found = read_pins(self._module)
        if found != self._artifact.go.sha256:
            raise ArtifactError(
                "build-failed",
                f"{self._artifact.label}: go.mod and go.sum in {self._module} have the sha256 {found}, "
                f"the catalogue says {self._artifact.go.sha256}",
                hint="Take the files that belong to this catalogue, or correct artifacts.yaml.",
            )
        return text

    def _require_space(self, tool: GoTool) -> None:
        need_bytes = self._artifact.go.disk_mb * 1_000_000
        if self._has_modules(tool):
            need_bytes //= WARM_SHARE
        for folder in (tool.module_cache, self._folder):
            Workspace(folder).require_space(need_bytes, f"building {self._artifact.label}")

    def _has_modules(self, tool: GoTool) -> bool:
        folder = tool.module_cache / "cache/download" / self._artifact.go.package / "@v"
        return (folder / f"v{self._artifact.version}.zip").is_file()

    def _command(self, tool: GoTool, *arguments: str) -> list[str]:
        """Return a command of Go; `env` is coreutils' and adds to the environment."""
        settings = {
            "CGO_ENABLED": "0",
            "GOAMD64": "v1",  # for every x86-64 CPU
            "GOTOOLCHAIN": "local",
            "GOWORK": "off",
            "GOTMPDIR": str(self._folder / "tmp"),
            "GOMODCACHE": str(tool.module_cache),
            "GOCACHE": str(tool.build_cache),
        }
        values = [f"{name}={value}" for name, value in settings.items()]
        return ["env", *values, "nice", "-n", NICENESS, str(tool.path), *arguments]

    def _flags(self, tool: GoTool) -> list[str]:
        # What lies in our own cache can be deleted by hand.
        own = ["-modcacherw"] if tool.is_own_cache else []
        return ["-mod=readonly", f"-tags={','.join(self._artifact.go.tags)}", *own]

    def _list_packages(self, tool: GoTool, modules: int) -> set[str]:
        """Fetch the modules and return the packages that the program is made of."""
        label = f"modules of {self._artifact.label}"
        counter = _Counter(self._progress, label, modules, "modules")
        packages: set[str] = set()

        def see(line: str) -> None:
            if line.startswith("go: downloading "):
                counter.count()
            elif " " not in line:
                packages.add(line)

        list_ = ["list", "-deps", *self._flags(tool), self._artifact.go.package]
        self._run(self._command(tool, *list_), see, counter.tick)
        if counter.done:
            self._progress.finish(f"{counter.done} fetched")
        return packages

    def _compile(self, tool: GoTool, packages: set[str]) -> None:
        # The link is the last step and has no line of its own.
        counter = _Counter(self._progress, f"building {self._artifact.label}", len(packages) + 1, "packages")
        self._progress.note(f"{self._artifact.label}: building with Go {tool.version}")
        counter.start()

        def see(line: str) -> None:
            if line in packages:
                counter.count()

        program = self._folder / "bin" / self._artifact.binaries[0]
        build = [
            "build",
            "-v",
            "-trimpath",
            "-buildvcs=false",
            "-ldflags",
            LINKER_FLAGS,
            "-p",
            str(self._jobs),
        ]
        build += ["-p", str(self._jobs), *self._flags(tool), "-o", str(program), self._artifact.go.package]
        self._run(self._command(tool, *build), see, counter.tick)

    def _run(self, command: list[str], see: Callable[[str], None], tick: Callable[[], None]) -> None:
        run_logged(
            command,
            self._folder / "build.log",
            self._artifact.label,
            on_line=see,
            on_tick=tick,
            cwd=self._module,
        )


def read_pins(module: Path) -> tuple[str, str]:
    """Return the text of a folder's `go.mod`, and the sha256 of it and `go.sum`.

    Raises:
        ArtifactError: One cannot be read.
    """
    try:
        parts = [(module / name).read_bytes() for name in ("go.mod", "go.sum")]
    except OSError as exc:
        raise ArtifactError("build-failed", f"{exc.filename} cannot be read: {exc.strerror}") from exc
    return parts[0].decode(), hashlib.sha256(b"".join(parts)).hexdigest()


def wanted_version(go_mod: str) -> str:
    """Return the version of Go that a `go.mod` asks for; the first that knows `tool` when it names none."""
    match = _GO_LINE.search(go_mod)
    return match[1] if match else "1.24"


class _Counter:
    """Counts lines towards a total; begins to show at the first, or when it is told to."""

    def __init__(self, progress: Progress, label: str, total: int, unit: str) -> None:
        self._progress = progress
        self._label = label
        self._total = max(1, total)
        self._unit = unit
        self._is_shown = False
        self.done = 0

    def start(self) -> None:
        self._is_shown = True
        self._progress.start(self._label, self._total, unit=self._unit)

    def count(self) -> None:
        if not self._is_shown:
            self.start()
        self.done += 1

    def tick(self) -> None:
        if self._is_shown:
            self._progress.update(min(self.done, self._total))
