"""The manifest of an artifact on a disk, and whether its programs start.

It owns the manifest's form and the proof that a program starts and is of its version.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from pipecatapp.artifacts import artifact_key as keys
from pipecatapp.artifacts.artifact_schema import AnyArtifact, ArtifactEntry, CmakeArtifact, GoArtifact
from pipecatapp.artifacts.disk import sha256_of
from pipecatapp.artifacts.model_schema import Entry, Name, RelativePath, Sha256
from pipecatapp.errors import ArtifactError
from pipecatapp.exit_status import describe_exit, is_illegal_instruction

MANIFEST = "manifest.json"
"""File beside `bin` that lists what is in it."""
CHECK_TIMEOUT_S = 60.0
"""Time for a program to start and say its version, on an old disk."""


class ManifestFile(Entry):
    """One file of an artefact."""

    path: RelativePath
    sha256: Sha256
    size_bytes: int = Field(ge=0)
    is_executable: bool


class Manifest(Entry):
    """What an artefact consists of: files, and links to files beside them."""

    name: Name
    version: str
    key: Name
    files: tuple[ManifestFile, ...]
    links: dict[RelativePath, Name]
    origin: str = ""
    """Where its programs came from, in words."""

    @property
    def digest(self) -> str:
        """SHA-256 over its files and links, the same wherever they came from."""
        lines = [f"{file.sha256} {int(file.is_executable)} {file.path}" for file in self.files]
        lines += [f"-> {target} {link}" for link, target in self.links.items()]
        return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def artifact_key(artifact: AnyArtifact, machine: str = "") -> str:
    """Return the name of the folder of exactly these programs.

    The key changes with what is built and how, not with the tool that builds it nor the place that it comes
    from: one key is one program to whoever uses it.

    Args:
        artifact: What is built.
        machine: Architecture; this machine's when "".
    """
    if isinstance(artifact, CmakeArtifact):
        left_out = [line for lines in artifact.build.left_out.values() for line in lines]
        parts = [artifact.source.sha256, *artifact.build.cmake_flags, *artifact.build.targets, *left_out]
    elif isinstance(artifact, GoArtifact):
        parts = keys.go_parts(artifact.go.sha256, artifact.go.package, artifact.go.tags)
    else:
        parts = [artifact.source.sha256, *sorted(artifact.members.values())]
    return keys.artifact_key(artifact.version, parts, machine)


def describe_folder(artifact: AnyArtifact, bin_dir: Path, origin: str = "") -> Manifest:
    """Return the manifest of what is in `bin_dir`."""
    return Manifest(
        name=artifact.name,
        version=artifact.version,
        key=artifact_key(artifact),
        files=tuple(_files(bin_dir)),
        links={path.name: os.readlink(path) for path in sorted(bin_dir.iterdir()) if path.is_symlink()},
        origin=origin,
    )


def check_starts(program: Path, artifact: ArtifactEntry) -> None:
    """Prove that a program starts and says the version that it should.

    Raises:
        ArtifactError: It does not.
    """
    try:
        finished = subprocess.run(
            [str(program), *artifact.check], capture_output=True, timeout=CHECK_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise ArtifactError("artifact-broken", f"{program.name} does not start: {exc}") from exc
    if isinstance(artifact, CmakeArtifact) and is_illegal_instruction(finished.returncode):
        # One of several CPU libraries died as it was loaded; a trial finds one that works (`llama_variants`).
        return
    if finished.returncode != 0:
        text = (finished.stderr or finished.stdout).decode(errors="replace").strip().splitlines()
        reason = text[-1] if text else describe_exit(finished.returncode)
        raise ArtifactError("artifact-broken", f"{program.name} does not start here: {reason}")
    wanted = artifact.prints.replace("{version}", artifact.version)
    lines = finished.stdout.decode(errors="replace").strip().splitlines()
    said = lines[0].strip() if lines else "nothing"
    if wanted and said != wanted:
        raise ArtifactError("artifact-version", f"it says '{said}', wanted is '{wanted}'")


def _files(bin_dir: Path) -> Iterator[ManifestFile]:
    for path in sorted(bin_dir.iterdir()):
        if path.is_file() and not path.is_symlink():
            yield ManifestFile(
                path=path.name,
                sha256=sha256_of(path),
                size_bytes=path.stat().st_size,
                is_executable=os.access(path, os.X_OK),
            )
