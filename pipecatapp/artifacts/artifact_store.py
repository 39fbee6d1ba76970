"""The store of binaries on this machine: where they are kept, and the order of their providers.

It owns where binaries are kept, whether they are here, and the order of the ways to come by them. They lie
in `<root>/<name>/<key>/bin`, outside the checkout, with a manifest of their hashes; the key changes with the
source, the flags and the architecture.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import ValidationError

from pipecatapp.artifacts.artifact_schema import AnyArtifact, CmakeArtifact, GoArtifact
from pipecatapp.artifacts.catalogue import Catalogue
from pipecatapp.artifacts.disk import Workspace, sha256_of
from pipecatapp.artifacts.go_build import GoBuilder, read_pins, wanted_version
from pipecatapp.artifacts.go_tool import GoFinder, GoTool, version_numbers
from pipecatapp.artifacts.manifest import MANIFEST, Manifest, artifact_key, check_starts, describe_folder
from pipecatapp.artifacts.progress import Progress, SilentProgress
from pipecatapp.artifacts.providers import (
    ArchiveProvider,
    CmakeProvider,
    GoProvider,
    MirrorProvider,
    NotProvidedError,
    PathProvider,
    Provider,
    ReleaseProvider,
    failure,
)
from pipecatapp.artifacts.sources import SourceError
from pipecatapp.errors import ArtifactError


def _one_job(memory_mb_per_job: int) -> int:
    """Return how many compilers may run at once where nobody knows the machine."""
    return 1


class ArtifactStore:
    """Binaries of `catalogue` below `root`.

    Args:
        root: The folder, outside the checkout.
        catalogue: What the binaries are.
        mirror_url: A server that has manifests, and files under their hash; "" for none.
        mirror_digest: The manifest's digest that the mirror must give; "" believes the mirror.
        jobs_for: Returns how many compilers may run at once, from the memory of one (mebibytes).
    """

    def __init__(
        self,
        root: Path,
        catalogue: Catalogue,
        *,
        mirror_url: str = "",
        mirror_digest: str = "",
        jobs_for: Callable[[int], int] = _one_job,
    ) -> None:
        self._jobs_for = jobs_for
        self._mirror_digest = mirror_digest
        self._root = root
        self._catalogue = catalogue
        self._mirror_url = mirror_url.rstrip("/")

    def folder(self, name: str) -> Path:
        """Return where the artefact belongs; its programs are in `bin` below.

        Raises:
            ConfigError: There is no such artefact.
        """
        artifact = self._catalogue.artifact(name)
        return self._root / artifact.name / artifact_key(artifact)

    def path(self, name: str, binary: str = "") -> Path:
        """Return the folder of the artefact's programs, or one of them.

        Raises:
            ConfigError: There is no such artefact.
            ArtifactError: It is not here, or has no such program; the hint is the command that fetches it.
        """
        artifact = self._catalogue.artifact(name)
        if binary and binary not in artifact.binaries:
            known = ", ".join(artifact.binaries)
            raise ArtifactError("unknown-binary", f"{name} has no program '{binary}'; it has: {known}")
        if not self.is_present(name):
            raise ArtifactError(
                "artifact-absent",
                f"{artifact.label} is not on this machine: there is no {self.folder(name)}",
                hint=f"Fetch or build it with: twin artifacts fetch {name}",
                status=503,
            )
        return self.folder(name) / "bin" / binary

    def is_present(self, name: str) -> bool:
        """Whether the artefact is here with every file in its size.

        Raises:
            ConfigError: There is no such artefact.
        """
        return not self.problems(name, rehash=False)

    def manifest(self, name: str) -> Manifest | None:
        """Return what the artefact here consists of, or None when it is not here."""
        try:
            text = (self.folder(name) / MANIFEST).read_text(encoding="utf-8")
            return Manifest.model_validate_json(text)
        except (OSError, ValidationError):
            return None

    def digest(self, name: str) -> str:
        """Return the digest of the artefact here, "" when it is not here."""
        manifest = self.manifest(name)
        return manifest.digest if manifest else ""

    def problems(self, name: str, *, rehash: bool = True) -> list[str]:
        """Return what is wrong with the artefact here, in words; nothing when it is whole.

        Args:
            name: The artefact.
            rehash: Read every byte; otherwise only sizes are compared.
        """
        artifact = self._catalogue.artifact(name)
        manifest = self.manifest(name)
        if manifest is None:
            return [f"{artifact.label} is not here"]
        found = []
        for file in manifest.files:
            path = self.folder(name) / "bin" / file.path
            if not path.is_file():
                found.append(f"{file.path} is absent")
            elif path.stat().st_size != file.size_bytes or (rehash and sha256_of(path) != file.sha256):
                found.append(f"{file.path} is damaged")
        names = {file.path for file in manifest.files}
        found += [f"{binary} is absent" for binary in artifact.binaries if binary not in names]
        return found

    def ensure(self, name: str, progress: Progress | None = None, *, jobs: int = 0) -> bool:
        """Bring the artefact if it is not here, and return whether anything was done.

        Args:
            name: The artefact.
            progress: Where to report.
            jobs: Compilers at once; 0 takes what cores and memory allow.

        Raises:
            ConfigError: There is no such artefact.
            ArtifactError: It can neither be fetched nor built.
        """
        artifact = self._catalogue.artifact(name)
        if self.is_present(name):
            return False
        says = progress or SilentProgress()
        work = Workspace(self._root / artifact.name)
        with work.lock(
            artifact_key(artifact), lambda: says.note(f"{artifact.label}: another process builds it; waiting")
        ):
            if not self.is_present(name):
                self._fetch(name, artifact, work, says, jobs)
                return True
        return False

    def _fetch(
        self, name: str, artifact: AnyArtifact, work: Workspace, progress: Progress, jobs: int
    ) -> None:
        """Try each way in its order and keep what the first one gives that works here."""
        attempts: list[tuple[str, Exception]] = []
        for provider in self._providers(artifact, work, progress, jobs):
            try:
                output = provider.fetch()
                self.install(name, output, origin=provider.label)
            except (SourceError, ArtifactError) as exc:
                attempts.append((provider.label, exc))
                if not isinstance(exc, NotProvidedError):
                    progress.note(f"{artifact.label}: {provider.label}: {exc}")
                continue
            progress.finish("")
            progress.note(f"{artifact.label}: {provider.label}; installed in {self.folder(name)}")
            provider.clean()
            shutil.rmtree(_scratch(work, artifact), ignore_errors=True)
            return
        raise failure(artifact, attempts)

    def _providers(
        self, artifact: AnyArtifact, work: Workspace, progress: Progress, jobs: int
    ) -> Iterator[Provider]:
        """Yield the ways to come by an artefact, in order: each is tried only when those before failed."""
        key = artifact_key(artifact)
        scratch = _scratch(work, artifact)
        if isinstance(artifact, GoArtifact):
            yield PathProvider(artifact, self._root, scratch / "path")
        if self._mirror_url:
            folder = work.root / f".{key}.mirror"
            digest = self._mirror_digest
            yield MirrorProvider(artifact, self._mirror_url, folder, progress, digest=digest)
        if isinstance(artifact, CmakeArtifact):
            count = jobs or self._jobs_for(artifact.memory_mb)
            yield CmakeProvider(artifact, work, self._mirror_url, progress, count)
        elif isinstance(artifact, GoArtifact):
            for release in artifact.releases:
                if release.machine == platform.machine():
                    yield ReleaseProvider(artifact, release, scratch / "release", progress)
            yield self._go_provider(artifact, work.root / f".build-{key}", progress, jobs)
        else:
            yield ArchiveProvider(artifact, scratch / "archive", self._mirror_url, progress)

    def _go_provider(self, artifact: GoArtifact, folder: Path, progress: Progress, jobs: int) -> Provider:
        count = jobs or self._jobs_for(artifact.memory_mb)
        finder = self._go_finder(progress)
        builder = GoBuilder(artifact, self._catalogue.folder, folder, finder, progress, jobs=count)
        return GoProvider(builder, folder)

    def _go_finder(self, progress: Progress) -> GoFinder:
        chain = self._catalogue.go_toolchain
        return GoFinder(self._root / "go", chain, progress, mirror_url=self._mirror_url)

    def go_tool(self, progress: Progress | None = None) -> GoTool:
        """Return the Go tool that every Go program of the catalogue can be built with.

        Raises:
            ArtifactError: There is none, and none can be had.
        """
        programs = [found for found in self._catalogue.artifacts.values() if isinstance(found, GoArtifact)]
        texts = [read_pins(self._catalogue.folder / program.go.module)[0] for program in programs]
        wanted = max((wanted_version(text) for text in texts), key=version_numbers, default="1.24")
        return self._go_finder(progress or SilentProgress()).find(wanted)

    def install(self, name: str, output: Path, *, origin: str = "") -> None:
        """Take an artefact's programs and their libraries out of `output` and keep them.

        Args:
            name: The artefact.
            output: The folder.
            origin: Where they came from, in words.

        Raises:
            ArtifactError: A program is absent, does not start, or is of another version.
        """
        artifact = self._catalogue.artifact(name)
        folder = self.folder(name)
        draft = folder.with_name(f".{folder.name}.{os.getpid()}")
        shutil.rmtree(draft, ignore_errors=True)
        try:
            (draft / "bin").mkdir(parents=True)
            absent = [binary for binary in artifact.binaries if not (output / binary).is_file()]
            if absent:
                raise ArtifactError(
                    "build-failed", f"{artifact.label}: there is no {', '.join(absent)} in it"
                )
            libraries = [path for path in output.iterdir() if ".so" in path.suffixes]
            for path in [*(output / binary for binary in artifact.binaries), *libraries]:
                shutil.copy2(path, draft / "bin" / path.name, follow_symlinks=False)
            for binary in artifact.binaries:
                check_starts(draft / "bin" / binary, artifact)
            manifest = describe_folder(artifact, draft / "bin", origin)
            text = json.dumps(manifest.model_dump(mode="json"), indent=1)
            (draft / MANIFEST).write_text(text + "\n", encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)
            draft.replace(folder)
        except OSError as exc:
            raise Workspace(self._root).full(artifact.label, exc) from exc
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _scratch(work: Workspace, artifact: AnyArtifact) -> Path:
    """Return where the ways put what they fetch; after a failure it stays, so that it need not come again."""
    return work.root / f".get-{artifact_key(artifact)}"
