"""Publishes a small Go program as a module proxy does, and pins it as our own go.mod and go.sum do."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

from pipecatapp.artifacts.artifact_schema import GoArtifact
from pipecatapp.artifacts.catalogue import Catalogue
from testing.integration.artifacts.hub import Hub

MODULE = "example.org/hello"
VERSION = "1.2.0"
PROGRAM = """package main

import "os"

func main() {
	os.Stdout.WriteString("Hello v1.2.0\\n" + tone + "\\n")
}
"""
FILES = {
    "go.mod": "module example.org/hello\n\ngo 1.24\n",
    "main.go": PROGRAM,
    "quiet.go": '//go:build !loud\n\npackage main\n\nconst tone = "quiet"\n',
    "loud.go": '//go:build loud\n\npackage main\n\nconst tone = "loud"\n',
}
OUR_MOD = f"module twin/hello\n\ngo 1.24\n\ntool {MODULE}\n\nrequire {MODULE} v{VERSION}\n"


def publish(hub: Hub, files: Mapping[str, str] = FILES) -> str:
    """Serve the module; return the proxy's address."""
    base = f"/proxy/{MODULE}/@v/v{VERSION}"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"{MODULE}@v{VERSION}/{name}", text)
    hub.serve(f"{base}.info", f'{{"Version": "v{VERSION}", "Time": "2026-01-01T00:00:00Z"}}'.encode())
    hub.serve(f"{base}.mod", files["go.mod"].encode())
    hub.serve(f"{base}.zip", buffer.getvalue())
    return f"{hub.url}/proxy"


def our_sum(files: Mapping[str, str] = FILES) -> str:
    """Return the go.sum that pins the module (https://go.dev/ref/mod#go-sum-files)."""
    whole = _hash({f"{MODULE}@v{VERSION}/{name}": text for name, text in files.items()})
    return f"{MODULE} v{VERSION} {whole}\n{MODULE} v{VERSION}/go.mod {_hash({'go.mod': files['go.mod']})}\n"


def catalogue(folder: Path, *, go_sum: str = "", **changes: object) -> Catalogue:
    """Write our go.mod and go.sum below `folder` and return a catalogue that has the program."""
    module = folder / "go-modules" / "hello"
    module.mkdir(parents=True, exist_ok=True)
    pins = (OUR_MOD, go_sum or our_sum())
    for name, text in zip(("go.mod", "go.sum"), pins, strict=True):
        (module / name).write_text(text)
    recipe: dict[str, object] = {
        "module": "go-modules/hello",
        "sha256": hashlib.sha256("".join(pins).encode()).hexdigest(),
        "package": MODULE,
        "disk_mb": 10,
    }
    recipe |= {key: changes.pop(key) for key in ("tags", "disk_mb", "sha256") if key in changes}
    fields: dict[str, object] = {
        "name": "hello",
        "kind": "go-module",
        "version": VERSION,
        "licence": "MIT",
        "url": "https://example.org/hello",
        "binaries": ["hello"],
        "check": ["version"],
        "prints": "Hello v{version}",
        "memory_mb": 100,
        "go": recipe,
    }
    return Catalogue({}, {"hello": GoArtifact.model_validate(fields | changes)}, folder=folder)


def _hash(files: Mapping[str, str]) -> str:
    lines = [f"{hashlib.sha256(text.encode()).hexdigest()}  {name}\n" for name, text in sorted(files.items())]
    return "h1:" + base64.b64encode(hashlib.sha256("".join(lines).encode()).digest()).decode()
