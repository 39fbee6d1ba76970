"""Makes entries of a catalogue, and the packages that carry their files."""

from __future__ import annotations

import hashlib
import io
import json
import random
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from pipecatapp.artifacts.model_schema import FileEntry
from testing.integration.artifacts.hub import Hub


def payload(size_bytes: int, seed: int = 1) -> bytes:
    """Return bytes that do not compress."""
    return random.Random(seed).randbytes(size_bytes)


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def entry(body: bytes, *, filename: str = "model.bin", url: str | None = None, **more: object) -> FileEntry:
    fields = {"filename": filename, "sha256": sha256(body), "size_bytes": len(body), "url": url}
    return FileEntry.model_validate(fields | more)


def wheel(folder: Path, package: str, files: Mapping[str, bytes], version: str = "1.0") -> None:
    """Put a wheel into `folder`, as pip's --find-links wants it."""
    module = package.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{module}-{version}-py3-none-any.whl", "w") as archive:
        for name, body in files.items():
            archive.writestr(f"{module}/{name}", body)
        # Whoever imports or installs the carrier shows itself.
        archive.writestr(f"{module}/__init__.py", "raise RuntimeError('a carrier was imported')\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def tarball(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, body in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    return buffer.getvalue()


def npm_package(hub: Hub, package: str, files: Mapping[str, bytes], version: str = "1.0.0") -> None:
    """Serve a package as an npm registry does."""
    about = {"name": package, "version": version}
    body = tarball({"package/package.json": json.dumps(about).encode(), **files})
    address = hub.serve(f"/{package}/-/{package}-{version}.tgz", body)
    document = {
        "name": package,
        "dist-tags": {"latest": version},
        "versions": {
            version: {**about, "dist": {"tarball": address, "shasum": hashlib.sha1(body).hexdigest()}}
        },
    }
    hub.serve(f"/{package}", json.dumps(document).encode())
