"""Programs out of a Debian package and out of a zip file."""

from __future__ import annotations

import io
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipecatapp.artifacts.artifact_schema import ArchiveArtifact
from pipecatapp.artifacts.artifact_store import ArtifactStore
from pipecatapp.artifacts.catalogue import Catalogue
from pipecatapp.errors import ArtifactError
from testing.integration.artifacts.entries import sha256
from testing.integration.artifacts.hub import Hub

pytestmark = pytest.mark.integration

CONTROL = "Package: hello\nVersion: 1.0\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n"
SCRIPT = "#!/bin/sh\necho 'Hello v1.0'\n"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        yield server


def deb(folder: Path) -> bytes:
    """A package, made by Debian's own tool."""
    tree = folder / "tree"
    for name, text in {
        "DEBIAN/control": CONTROL,
        "usr/bin/hello": SCRIPT,
    }.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
        (tree / name).chmod(0o755)
    subprocess.run(["dpkg-deb", "--build", tree, folder / "h.deb"], capture_output=True, check=True)
    return (folder / "h.deb").read_bytes()


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("usr/bin/hello", SCRIPT)
    return buffer.getvalue()


def catalogue(hub: Hub, filename: str, body: bytes, member: str = "usr/bin/hello") -> Catalogue:
    entry = {
        "name": "hello",
        "kind": "archive",
        "version": "1.0",
        "licence": "MIT",
        "url": "https://example.org/hello",
        "binaries": ["hello"],
        "prints": "Hello v{version}",
        "machine": "x86_64",
        "members": {"hello": member},
        "source": {
            "filename": filename,
            "sha256": sha256(body),
            "size_bytes": len(body),
            "url": hub.serve(f"/{filename}", body),
        },
    }
    return Catalogue({}, {"hello": ArchiveArtifact.model_validate(entry)})


@pytest.mark.parametrize("filename", ["hello.deb", "hello.zip"])
def test_program_is_taken_out_and_nothing_else_is_kept(tmp_path: Path, hub: Hub, filename: str) -> None:
    body = deb(tmp_path) if filename == "hello.deb" else zipped()
    store = ArtifactStore(tmp_path / "artifacts", catalogue(hub, filename, body))
    assert store.ensure("hello")
    said = subprocess.run([store.path("hello", "hello")], capture_output=True, text=True, check=True).stdout
    assert said == "Hello v1.0\n"
    assert [path.name for path in store.path("hello").iterdir()] == ["hello"]
    assert sorted(
        path.name for path in (tmp_path / "artifacts/hello").iterdir() if path.name != ".supply"
    ) == [store.folder("hello").name]


@pytest.mark.parametrize("filename", ["hello.deb", "hello.zip"])
def test_archive_without_the_program_is_refused(tmp_path: Path, hub: Hub, filename: str) -> None:
    body = deb(tmp_path) if filename == "hello.deb" else zipped()
    store = ArtifactStore(tmp_path / "artifacts", catalogue(hub, filename, body, "usr/bin/other"))
    with pytest.raises(ArtifactError, match="other"):
        store.ensure("hello")


def test_what_is_no_package_is_refused(tmp_path: Path, hub: Hub) -> None:
    store = ArtifactStore(tmp_path / "artifacts", catalogue(hub, "hello.deb", b"no package"))
    with pytest.raises(ArtifactError, match="cannot be unpacked"):
        store.ensure("hello")
