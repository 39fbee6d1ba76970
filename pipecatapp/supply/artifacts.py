"""The binaries on this machine.

It owns where binaries are kept, whether they are here, and the choice between the mirror and building.
They lie in `<root>/<name>/<key>/bin`, outside the checkout, with a manifest of their hashes; the key
changes with the source, the flags and the architecture.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field, ValidationError

from pipecatapp.adapters.cpu import read_cpu
from pipecatapp.errors import SupplyError
from pipecatapp.supply.build import Builder
from pipecatapp.supply.catalogue import Catalogue
from pipecatapp.supply.disk import Workspace, sha256_of
from pipecatapp.supply.fetcher import Fetcher
from pipecatapp.supply.progress import Progress, SilentProgress
from pipecatapp.supply.schema import ArtifactEntry, Entry, FileEntry, Name, RelativePath, Sha256
from pipecatapp.supply.sources import SourceError

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


def artifact_key(artifact: ArtifactEntry, machine: str = "") -> str:
    """Return the name of the folder of exactly these binaries.

    Args:
        artifact: What is built.
        machine: Architecture; this machine's when "".
    """
    parts = [artifact.source.sha256, *artifact.build.cmake_flags, *artifact.build.targets]
    digest = hashlib.sha256("\n".join([*parts, machine or platform.machine()]).encode()).hexdigest()
    return f"{artifact.version}-{digest[:12]}"


class ArtifactStore:
    """Binaries of `catalogue` below `root`.

    Args:
        root: The folder, outside the checkout.
        catalogue: What the binaries are.
        mirror_url: A server that has manifests, and files under their hash; "" for none.
    """

    def __init__(self, root: Path, catalogue: Catalogue, *, mirror_url: str = "") -> None:
        self._root = root
        self._catalogue = catalogue
        self._mirror_url = mirror_url.rstrip("/")

    def folder(self, name: str) -> Path:
        """Return where the artefact belongs; its programs are in `bin` below.

        Raises:
            ConfigError: There is no such artefact.
        """
        artifact = self._catalogue.artifact(name)
        return self._root / name / artifact_key(artifact)

    def path(self, name: str, binary: str = "") -> Path:
        """Return the folder of the artefact's programs, or one of them.

        Raises:
            ConfigError: There is no such artefact.
            SupplyError: It is not here, or has no such program; the hint is the command that fetches it.
        """
        artifact = self._catalogue.artifact(name)
        if binary and binary not in artifact.binaries:
            known = ", ".join(artifact.binaries)
            raise SupplyError("unknown-binary", f"{name} has no program '{binary}'; it has: {known}")
        if not self.is_present(name):
            raise SupplyError(
                "artifact-absent",
                f"{name} {artifact.version} is not on this machine: there is no {self.folder(name)}",
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

    def problems(self, name: str, *, rehash: bool = True) -> list[str]:
        """Return what is wrong with the artefact here, in words; nothing when it is whole.

        Args:
            name: The artefact.
            rehash: Read every byte; otherwise only sizes are compared.
        """
        artifact = self._catalogue.artifact(name)
        manifest = self.manifest(name)
        if manifest is None:
            return [f"{name} {artifact.version} is not here"]
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
            SupplyError: It can neither be fetched nor built.
        """
        artifact = self._catalogue.artifact(name)
        if self.is_present(name):
            return False
        says = progress or SilentProgress()
        work = Workspace(self._root / name)
        with work.lock(
            artifact_key(artifact), lambda: says.note(f"{name}: another process builds it; waiting")
        ):
            if self.is_present(name):
                return False
            if not self._from_mirror(artifact, says):
                self._build(artifact, says, work, jobs or default_jobs(artifact.memory_mb))
        return True

    def install(self, artifact: ArtifactEntry, output: Path) -> None:
        """Take an artefact's programs and their libraries out of `output` and keep them.

        Raises:
            SupplyError: A program is absent or does not start.
        """
        folder = self.folder(artifact.name)
        draft = folder.with_name(f".{folder.name}.{os.getpid()}")
        shutil.rmtree(draft, ignore_errors=True)
        (draft / "bin").mkdir(parents=True)
        absent = [binary for binary in artifact.binaries if not (output / binary).is_file()]
        if absent:
            raise SupplyError("build-failed", f"{artifact.name}: the build made no {', '.join(absent)}")
        libraries = [path for path in output.iterdir() if ".so" in path.suffixes]
        for path in [*(output / binary for binary in artifact.binaries), *libraries]:
            shutil.copy2(path, draft / "bin" / path.name, follow_symlinks=False)
        self._finish(artifact, draft)

    def _finish(self, artifact: ArtifactEntry, draft: Path) -> None:
        """Prove that a draft's programs start, write its manifest and move it into place."""
        for binary in artifact.binaries:
            _check_starts(draft / "bin" / binary, artifact.check)
        manifest = describe_folder(artifact, draft / "bin")
        text = json.dumps(manifest.model_dump(mode="json"), indent=1)
        (draft / MANIFEST).write_text(text + "\n", encoding="utf-8")
        folder = self.folder(artifact.name)
        shutil.rmtree(folder, ignore_errors=True)
        draft.replace(folder)

    def _from_mirror(self, artifact: ArtifactEntry, progress: Progress) -> bool:
        if not self._mirror_url:
            return False
        key = artifact_key(artifact)
        url = f"{self._mirror_url}/artifacts/{artifact.name}/{key}.json"
        draft = self._root / artifact.name / f".{key}.mirror"
        try:
            with Fetcher(draft, mirror_url=self._mirror_url, progress=progress) as fetcher:
                manifest = Manifest.model_validate(fetcher.get_json(url))
                fetcher.ensure_all(
                    FileEntry(filename=f"bin/{file.path}", sha256=file.sha256, size_bytes=file.size_bytes)
                    for file in manifest.files
                )
            self._arrange(draft / "bin", manifest)
            shutil.rmtree(draft / ".supply", ignore_errors=True)
            self._finish(artifact, draft)
        except (SourceError, SupplyError, ValidationError) as exc:
            progress.note(f"{artifact.name}: mirror {url}: {exc}")
            return False
        return True

    def _arrange(self, bin_dir: Path, manifest: Manifest) -> None:
        for file in manifest.files:
            (bin_dir / file.path).chmod(0o755 if file.is_executable else 0o644)
        for link, target in manifest.links.items():
            (bin_dir / link).unlink(missing_ok=True)
            (bin_dir / link).symlink_to(target)

    def _build(self, artifact: ArtifactEntry, progress: Progress, work: Workspace, jobs: int) -> None:
        label = f"{artifact.name} {artifact.version}"
        work.require_room(artifact.build.disk_mb * 1_000_000 + artifact.source.size_bytes, label)
        folder = work.root / f".build-{artifact_key(artifact)}"
        folder.mkdir(parents=True, exist_ok=True)
        builder = Builder(artifact.build, folder, progress, jobs=jobs)
        with Fetcher(work.root, mirror_url=self._mirror_url, progress=progress) as fetcher:
            fetcher.ensure(artifact.source)
            archive = fetcher.path(artifact.source)
        self.install(artifact, builder.build(archive, label))
        progress.finish(f"installed in {self.folder(artifact.name)}")
        builder.clean()
        archive.unlink(missing_ok=True)


def describe_folder(artifact: ArtifactEntry, bin_dir: Path) -> Manifest:
    """Return the manifest of what is in `bin_dir`."""
    return Manifest(
        name=artifact.name,
        version=artifact.version,
        key=artifact_key(artifact),
        files=tuple(_files(bin_dir)),
        links={path.name: os.readlink(path) for path in sorted(bin_dir.iterdir()) if path.is_symlink()},
    )


def default_jobs(memory_mb_per_job: int) -> int:
    """Return how many compilers may run at once on this machine.

    Args:
        memory_mb_per_job: Memory of one (mebibytes), > 0.
    """
    cpu = read_cpu(ask_cpu=False)
    return max(1, min(cpu.cores, cpu.available_mb // memory_mb_per_job))


def _files(bin_dir: Path) -> Iterator[ManifestFile]:
    for path in sorted(bin_dir.iterdir()):
        if path.is_file() and not path.is_symlink():
            yield ManifestFile(
                path=path.name,
                sha256=sha256_of(path),
                size_bytes=path.stat().st_size,
                is_executable=os.access(path, os.X_OK),
            )


def _check_starts(program: Path, arguments: tuple[str, ...]) -> None:
    try:
        finished = subprocess.run(
            [str(program), *arguments], capture_output=True, timeout=CHECK_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise SupplyError("artifact-broken", f"{program.name} does not start: {exc}") from exc
    if finished.returncode != 0:
        text = (finished.stderr or finished.stdout).decode(errors="replace").strip().splitlines()
        reason = text[-1] if text else f"exit code {finished.returncode}"
        raise SupplyError("artifact-broken", f"{program.name} does not start here: {reason}")
