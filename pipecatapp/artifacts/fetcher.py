"""Fetches one file of the catalogue onto this machine, and proves it by its hash.

It owns the order of sources, the decision by hash, and the move into place. The network is never touched
when the right file is there.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pipecatapp.artifacts.disk import NO_SPACE, Workspace, sha256_of, size_of, sync
from pipecatapp.artifacts.model_schema import FileEntry, Source, UrlSource
from pipecatapp.artifacts.progress import Progress, SilentProgress, megabytes
from pipecatapp.artifacts.registry_client import RegistryClient
from pipecatapp.artifacts.sources import (
    HostUnreachable,
    Job,
    SourceError,
    SourceReader,
    TransferInterrupted,
    brief,
    carrier_bytes,
    carriers_of,
    describe,
)
from pipecatapp.errors import ArtifactError

log = logging.getLogger(__name__)

REPORTED_BYTES = 5_000_000
"""Files from this size on get a line of their own when they have arrived."""
FileState = Literal["present", "absent", "damaged"]
"""`damaged` is a file whose bytes are not what the catalogue says."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A source that was tried, and why it failed."""

    source: str
    reason: str


class FetchError(ArtifactError):
    """No source gave the file.

    Args:
        filename: Which file.
        attempts: Every source tried, in order.
        lost_mirror: The mirror's address when it did not answer or stopped in the middle, else "".
    """

    def __init__(self, filename: str, attempts: Sequence[Attempt], lost_mirror: str = "") -> None:
        tried = "; ".join(f"{number}. {a.source}: {a.reason}" for number, a in enumerate(attempts, 1))
        super().__init__(
            "no-source",
            f"{filename} cannot be had. Tried: {tried}.",
            hint=(
                f"The mirror {lost_mirror} (TWIN_MIRROR_URL) does not serve now: see to it there "
                "(systemctl status twin-mirror), then run the same command again; "
                "it goes on where it stopped."
                if lost_mirror
                else "Check the network, set TWIN_MIRROR_URL to a machine that has the file, "
                "or put it in place."
            ),
            retryable=True,
        )
        self.filename = filename
        self.attempts = tuple(attempts)


class Fetcher:
    """Fetches files below one folder. Use it as a context manager.

    Args:
        root: The folder.
        mirror_url: A server that has files under their hash; tried first; "" for none.
        progress: Where to report.
        reader: Reads sources; its own by default.
        unreachable: Hosts and registries that did not answer a moment ago, and how; added to. Who fetches
            several times in a row hands on the same, so that no wait is repeated.
    """

    def __init__(
        self,
        root: Path,
        *,
        mirror_url: str = "",
        progress: Progress | None = None,
        reader: SourceReader | None = None,
        unreachable: dict[str, str] | None = None,
    ) -> None:
        self._work = Workspace(root)
        self._mirror_url = mirror_url.rstrip("/")
        self._progress: Progress = progress or SilentProgress()
        self._packages = RegistryClient(self._work.carriers, unreachable)
        self._reader = reader or SourceReader(self._packages, unreachable=unreachable)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of connections and packages."""
        self.close()

    def close(self) -> None:
        """Let go of connections and packages."""
        self._reader.close()
        self._packages.close()

    def path(self, file: FileEntry) -> Path:
        """Return where the file belongs."""
        return self._work.root / file.filename

    def state(self, file: FileEntry, *, rehash: bool = False) -> FileState:
        """Return whether the file is there and right.

        Args:
            file: The file.
            rehash: Read all its bytes, even if it has not changed since they were last read.
        """
        path = self.path(file)
        if not path.is_file():
            return "absent"
        if path.stat().st_size != file.size_bytes:
            return "damaged"
        if not rehash and self._work.has_stamp(path, file.sha256):
            return "present"
        if sha256_of(path) != file.sha256:
            self._work.forget(path)
            return "damaged"
        self._work.stamp(path, file.sha256)
        return "present"

    def ensure_all(
        self, files: Iterable[FileEntry], *, label: str = "", same_content: Iterable[FileEntry] = ()
    ) -> tuple[str, ...]:
        """Bring every file that is not there.

        Args:
            files: What is wanted.
            label: What they are together; said when all are here.
            same_content: Other files below the same folder, whose bytes may be the same.

        Returns:
            The names of the files that were fetched.

        Raises:
            ArtifactError: One cannot be had; those before it are in place.
        """
        missing = [file for file in files if self.state(file) != "present"]
        if not missing:
            return ()
        others = tuple(same_content)
        for file in missing:
            for source in self._sources(file):
                self._packages.expect(carriers_of(source))
        fetched = tuple(file.filename for file in missing if self.ensure(file, same_content=others))
        if label and fetched:
            self._progress.note(f"{label}: all files are here and right")
        return fetched

    def ensure(self, file: FileEntry, *, same_content: Iterable[FileEntry] = ()) -> bool:
        """Bring one file and return whether anything was done.

        Raises:
            ArtifactError: No source has it, the disk is full, or the folder cannot be written.
        """
        if self.state(file) == "present":
            return False
        try:
            with self._work.lock(file.sha256, lambda: self._say_waiting(file)):
                if self.state(file) == "present":
                    return False
                if not self._link_same_content(file, same_content):
                    self._fetch(file)
        except OSError as exc:
            if exc.errno in NO_SPACE:
                raise self._work.full(file.filename, exc) from exc
            raise ArtifactError(
                "supply-folder",
                f"{file.filename} cannot be written in {self._work.root}: {exc.strerror}",
                hint="Run as the owner of the folder, or set TWIN_MODELS_DIR or TWIN_CACHE_DIR.",
            ) from exc
        return True

    def get_json(self, url: str) -> object:
        """Return the document at `url`.

        Raises:
            SourceError: It cannot be had or is not JSON.
        """
        return self._reader.get_json(url)

    def length_of(self, url: str) -> int:
        """Return the size of what is at `url` (bytes), without fetching it.

        Raises:
            SourceError: It is not there, or the server does not say.
        """
        return self._reader.length_of(url)

    def _sources(self, file: FileEntry) -> list[Source]:
        urls = [f"{self._mirror_url}/{file.sha256}"] if self._mirror_url else []
        urls += [file.url] if file.url else []
        return [*(UrlSource(kind="url", url=url) for url in urls), *file.sources]

    def _fetch(self, file: FileEntry) -> None:
        partial = self._work.partial(file.sha256)
        have = size_of(partial)
        self._work.require_space(max(0, file.size_bytes - have), file.filename)
        attempts: list[Attempt] = []
        lost_mirror = ""
        for number, source in enumerate(self._sources(file)):
            is_mirror = bool(self._mirror_url) and number == 0
            name = describe(source, is_mirror=is_mirror)
            label = f"{file.filename} from {brief(source, is_mirror=is_mirror)}"
            try:
                self._take(file, source, label, partial)
            except SourceError as exc:
                attempts.append(Attempt(name, str(exc)))
                if is_mirror and isinstance(exc, TransferInterrupted):
                    lost_mirror = self._mirror_url
                self._progress.finish("" if isinstance(exc, HostUnreachable) else f"failed: {exc}")
                continue
            self._place(file, partial)
            is_large = file.size_bytes >= REPORTED_BYTES
            self._progress.finish(f"{megabytes(file.size_bytes)}, sha256 is right" if is_large else "")
            log.info("file fetched", extra={"file": file.filename, "source": name})
            return
        if size_of(partial) == 0:
            self._drop(partial)
        raise FetchError(file.filename, attempts, lost_mirror)

    def _take(self, file: FileEntry, source: Source, label: str, partial: Path) -> None:
        """Bring the right bytes into `partial` from one source.

        Bytes that an earlier run left there may be wrong: if the whole is, the source is read once more
        from the start.
        """
        for is_last in (False, True):
            begun = size_of(partial)
            self._progress.start(label, file.size_bytes, done=begun)
            self._require_space(file, source, begun)
            self._reader.read(source, Job(file, partial, self._progress.update))
            self._progress.update(file.size_bytes)
            found = sha256_of(partial)
            if found == file.sha256:
                return
            self._drop(partial)
            if is_last or begun == 0:
                raise SourceError(f"sha256 is {found}, the catalogue says {file.sha256}")

    def _require_space(self, file: FileEntry, source: Source, begun: int) -> None:
        carrier = carrier_bytes(source, file)
        if carrier:
            try:
                self._work.require_space(file.size_bytes - begun + carrier, file.filename)
            except ArtifactError as exc:
                raise SourceError(exc.message) from exc

    def _place(self, file: FileEntry, partial: Path) -> None:
        target = self.path(file)
        target.parent.mkdir(parents=True, exist_ok=True)
        sync(partial)
        os.replace(partial, target)
        self._drop(partial)
        self._work.stamp(target, file.sha256)

    def _drop(self, partial: Path) -> None:
        partial.unlink(missing_ok=True)
        partial.with_suffix(".json").unlink(missing_ok=True)

    def _link_same_content(self, file: FileEntry, same_content: Iterable[FileEntry]) -> bool:
        """Take the bytes from another file here that has the same hash."""
        for other_file in same_content:
            is_other = other_file.sha256 == file.sha256 and other_file.filename != file.filename
            if is_other and self.state(other_file) == "present":
                partial = self._work.partial(file.sha256)
                self._drop(partial)
                try:
                    os.link(self.path(other_file), partial)
                except OSError:
                    shutil.copyfile(self.path(other_file), partial)
                self._place(file, partial)
                return True
        return False

    def _say_waiting(self, file: FileEntry) -> None:
        self._progress.note(f"{file.filename}: another process fetches it; waiting")
