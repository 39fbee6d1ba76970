"""Builds a source archive with CMake and Ninja.

It owns unpacking, configuring, compiling and saying how far it is. An interrupted build goes on where it
stopped; where the result is kept is `artifact_store`'s business.
"""

from __future__ import annotations

import re
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from pipecatapp.artifacts.artifact_schema import BuildRecipe
from pipecatapp.artifacts.commands import run_logged
from pipecatapp.artifacts.disk import BLOCK_BYTES
from pipecatapp.artifacts.progress import Progress
from pipecatapp.errors import ArtifactError

TOOLS: dict[str, tuple[tuple[str, ...], str]] = {
    "CMake": (("cmake",), "cmake"),
    "Ninja": (("ninja", "ninja-build"), "ninja-build"),
    "a C compiler": (("cc", "gcc", "clang"), "gcc"),
    "a C++ compiler": (("c++", "g++", "clang++"), "g++"),
}
"""What a build needs: programs that will do, and the Debian package that has one."""
NICENESS = "10"
"""A build runs behind everything that a person waits for."""

_STEP = re.compile(r"^\[(\d+)/(\d+)\] ")
"""Ninja's default status, `[finished/total] `."""


class Builder:
    """Builds one recipe in one folder.

    Args:
        recipe: What to do.
        folder: Where to unpack and build; kept until `clean`, so that a second run goes on.
        progress: Where to report.
        jobs: Compilers at once, >= 1.
    """

    def __init__(self, recipe: BuildRecipe, folder: Path, progress: Progress, *, jobs: int) -> None:
        self._recipe = recipe
        self._folder = folder
        self._progress = progress
        self._jobs = jobs
        self._log = folder / "build.log"

    def build(self, archive: Path, label: str) -> Path:
        """Build and return the folder of the binaries.

        Args:
            archive: The source, already proven.
            label: What is built, in words.

        Raises:
            ArtifactError: A tool is absent, the archive is not what it should be, or a step failed.
        """
        tools = find_tools()
        source = self._unpack(archive)
        output = self._folder / "build"
        configure = [tools["CMake"], "-S", str(source), "-B", str(output), "-G", "Ninja"]
        configure += [f"-DCMAKE_MAKE_PROGRAM={tools['Ninja']}", *self._recipe.cmake_flags]
        self._progress.note(f"{label}: configuring")
        self._run(configure, label, shows_steps=False)
        compile_ = ["nice", "-n", NICENESS, tools["Ninja"], "-C", str(output), "-j", str(self._jobs)]
        self._run([*compile_, *self._recipe.targets], label, shows_steps=True)
        return output / self._recipe.output_dir

    def clean(self) -> None:
        """Delete everything that building needed."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _unpack(self, archive: Path) -> Path:
        """Unpack the project's part of the archive, once."""
        source = self._folder / "source"
        done = self._folder / "unpacked"
        if not done.exists():
            shutil.rmtree(source, ignore_errors=True)
            source.mkdir(parents=True)
            extract(archive, self._recipe.source_dir, source)
            for path, beginnings in self._recipe.left_out.items():
                leave_out(source / path, beginnings)
            done.touch()
        return source

    def _run(self, command: Sequence[str], label: str, *, shows_steps: bool) -> None:
        counter = _Counter(self._progress, label)
        if shows_steps:
            run_logged(command, self._log, label, on_line=counter.see, on_tick=counter.tick)
        else:
            run_logged(command, self._log, label)


class _Counter:
    """Reads Ninja's steps out of its lines."""

    def __init__(self, progress: Progress, label: str) -> None:
        self._progress = progress
        self._label = label
        self._total = 0
        self._done = 0

    def see(self, line: str) -> None:
        """Report the step that `line` ends, if it does."""
        match = _STEP.match(line)
        if match is None:
            return
        self._done, total = int(match[1]), int(match[2])
        if total != self._total:
            self._total = total
            self._progress.start(f"building {self._label}", total, unit="steps", done=self._done)

    def tick(self) -> None:
        """Show that time passes."""
        if self._total:
            self._progress.update(self._done)


def find_tools() -> dict[str, str]:
    """Return the path of each tool that a build needs.

    Raises:
        ArtifactError: One is absent; the hint is the command that installs it.
    """
    found: dict[str, str] = {}
    absent: dict[str, str] = {}
    for what, (programs, package) in TOOLS.items():
        path = next((path for name in programs if (path := shutil.which(name))), "")
        if path:
            found[what] = path
        else:
            absent[what] = package
    if absent:
        raise ArtifactError(
            "build-tools",
            f"building needs {', '.join(absent)}",
            hint=f"Install with: apt-get install {' '.join(absent.values())}",
        )
    return found


def extract(archive: Path, prefix: str, target: Path) -> None:
    """Unpack what is below `prefix` in a tarball; nothing is written outside `target`.

    Raises:
        ArtifactError: It is no tarball, has nothing there, or holds a path that leads outside.
    """
    count = 0
    try:
        with tarfile.open(archive) as tarball:
            for member in tarball:
                inside = _below(member.name, prefix)
                if inside is not None:
                    _write_member(tarball, member, inside, target)
                    count += 1
    except (tarfile.TarError, EOFError) as exc:
        raise ArtifactError("bad-archive", f"{archive.name} is damaged: {exc}") from exc
    if count == 0:
        raise ArtifactError("bad-archive", f"{archive.name} has nothing below {prefix}")


def leave_out(path: Path, beginnings: Sequence[str]) -> None:
    """Drop lines from a file of the source.

    Args:
        path: The file.
        beginnings: How each of the lines begins, behind its indentation.

    Raises:
        ArtifactError: There is no such file, or not exactly one line that begins so.
    """
    if not path.is_file():
        raise ArtifactError("bad-archive", f"the archive has no {path.name} to leave lines out of")
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    for beginning in beginnings:
        found = [place for place, line in enumerate(lines) if line.lstrip().startswith(beginning)]
        if len(found) != 1:
            raise ArtifactError(
                "bad-archive", f"{path.name} has {len(found)} lines that begin with '{beginning}', not one"
            )
        del lines[found[0]]
    path.write_text("".join(lines), encoding="utf-8")


def _below(name: str, prefix: str) -> PurePosixPath | None:
    path = PurePosixPath(name)
    if not path.is_relative_to(prefix) or path == PurePosixPath(prefix):
        return None
    return path.relative_to(prefix)


def _write_member(
    tarball: tarfile.TarFile, member: tarfile.TarInfo, inside: PurePosixPath, target: Path
) -> None:
    path = target / inside
    if ".." in inside.parts or not path.parent.resolve().is_relative_to(target.resolve()):
        raise ArtifactError("bad-archive", f"the archive holds '{member.name}', which leads outside")
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if member.issym():
        if not (path.parent / member.linkname).resolve().is_relative_to(target.resolve()):
            raise ArtifactError("bad-archive", f"the archive's link '{member.name}' leads outside")
        path.symlink_to(member.linkname)
    elif member.isreg() and (source := tarball.extractfile(member)) is not None:
        with source, path.open("wb") as file:
            shutil.copyfileobj(source, file, BLOCK_BYTES)
        path.chmod(0o755 if member.mode & 0o100 else 0o644)
