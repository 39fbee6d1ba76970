"""Schema of binaries in the catalogue.

It owns the types of `group_vars/artifacts.yaml` and what is valid in them: how a build is described, and how
an archive of finished programs; building and unpacking are done elsewhere.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipecatapp.artifacts.model_schema import Entry, FileEntry, HttpUrl, Name, RelativePath, Sha256, Version

Machine = Literal["x86_64", "aarch64"]
"""A CPU architecture as `uname -m` spells it."""
GoPackage = Annotated[str, Field(pattern=r"^[a-z0-9][A-Za-z0-9._~/-]*$")]
"""A Go package by its import path."""


class BuildRecipe(Entry):
    """How a source archive becomes binaries, with CMake and Ninja.

    Args:
        source_dir: Folder of the CMake project inside the archive.
        cmake_flags: Flags of the configuration, without generator and folders.
        targets: What Ninja is asked for.
        left_out: Lines that are dropped from files of the project before it is configured, by file: how each
            begins. Each of them must be there exactly once.
        output_dir: Where in the build folder the binaries and their libraries end up.
        disk_mb: Room that unpacking and building take (megabytes), > 0.
    """

    source_dir: RelativePath
    cmake_flags: tuple[str, ...]
    targets: tuple[Name, ...] = Field(min_length=1)
    left_out: dict[RelativePath, tuple[str, ...]] = Field(default_factory=dict)
    output_dir: RelativePath = "bin"
    disk_mb: int = Field(gt=0)


class GoRecipe(Entry):
    """How a Go program is built from published modules.

    Args:
        module: Folder of our `go.mod` and `go.sum`, below the catalogue's; they pin every module by hash.
        sha256: Of `go.mod` and then `go.sum` (`cat go.mod go.sum | sha256sum`).
        package: The program, by its import path.
        tags: Build tags.
        disk_mb: Room that modules and building take when nothing is there yet (megabytes), > 0.
    """

    module: RelativePath
    sha256: Sha256
    package: GoPackage
    tags: tuple[Name, ...] = ()
    disk_mb: int = Field(gt=0)


class ReleaseArchive(Entry):
    """The vendor's own archive of finished programs for one architecture.

    Args:
        machine: The architecture.
        url: Where the archive is.
        sha256: Of the archive, as the vendor states it.
    """

    machine: Machine
    url: HttpUrl
    sha256: Sha256


class ArtifactEntry(Entry):
    """Programs, however they are come by.

    Args:
        name: Its name and folder.
        version: Version of the programs.
        licence: SPDX identifier.
        url: The project's page, for people.
        binaries: The programs that it must contain.
        check: Arguments with which each program proves that it starts; exit code 0.
        prints: First line that it then prints, `{version}` standing for the version; "" for any.
    """

    name: Name
    version: Version
    licence: str = Field(min_length=1)
    url: HttpUrl
    binaries: tuple[Name, ...] = Field(min_length=1)
    check: tuple[str, ...] = ("--version",)
    prints: str = ""

    @property
    def label(self) -> str:
        """Name and version, as a person says them."""
        return f"{self.name} {self.version}"


class CmakeArtifact(ArtifactEntry):
    """Programs that are built from a pinned source archive.

    Args:
        kind: `cmake`.
        source: The source archive.
        build: How to build it.
        memory_mb: Memory that building needs for each job (mebibytes), > 0.
    """

    kind: Literal["cmake"]
    source: FileEntry
    build: BuildRecipe
    memory_mb: int = Field(gt=0)

    @model_validator(mode="after")
    def _has_source(self) -> Self:
        _require_source(self.source)
        return self


class GoArtifact(ArtifactEntry):
    """Go programs: already on PATH, out of the vendor's archive, or built from their modules.

    Args:
        kind: `go-module`.
        go: How to build it; the one program that it makes is named like the first of `binaries`.
        releases: The vendor's archives.
        memory_mb: Memory that building needs for each job (mebibytes), > 0.
        older: Another version of this artefact, of another kind, that a failure points to; "" for none.
    """

    kind: Literal["go-module"]
    go: GoRecipe
    releases: tuple[ReleaseArchive, ...] = ()
    memory_mb: int = Field(gt=0)
    older: str = ""

    @model_validator(mode="after")
    def _one_program(self) -> Self:
        if len(self.binaries) != 1:
            raise ValueError("a Go module makes one program; give one name in binaries")
        if not self.prints:
            raise ValueError("needs prints, so that a program on PATH can be told by its version")
        return self


class ArchiveArtifact(ArtifactEntry):
    """Programs that are taken out of a pinned archive: a Debian package or a zip file.

    Args:
        kind: `archive`.
        source: The archive.
        members: Where in the archive each program is.
        machine: The architecture that they are for.
    """

    kind: Literal["archive"]
    source: FileEntry
    members: dict[Name, RelativePath] = Field(min_length=1)
    machine: Machine

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if set(self.members) != set(self.binaries):
            raise ValueError("members must name each of binaries, and nothing else")
        _require_source(self.source)
        return self


AnyArtifact = Annotated[CmakeArtifact | GoArtifact | ArchiveArtifact, Field(discriminator="kind")]
"""One entry, told apart by its `kind`."""


class GoToolchain(Entry):
    """A Go tool for machines that have none.

    Args:
        version: Its version.
        source: The archive that has it in its folder `go`.
        machine: The architecture that it is for.
        disk_mb: Room that it takes unpacked (megabytes), > 0.
    """

    version: Version
    source: FileEntry
    machine: Machine
    disk_mb: int = Field(gt=0)


class ArtifactsFile(Entry):
    """`artifacts.yaml`."""

    artifacts: tuple[AnyArtifact, ...]
    go_toolchain: GoToolchain | None = None


def _require_source(source: FileEntry) -> None:
    if source.url is None and not source.sources:
        raise ValueError("its source has neither a url nor sources")
