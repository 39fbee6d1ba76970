"""Lays out what this machine has for others to fetch.

It owns the mirror's layout: `<sha256>` for every file and `artifacts/<name>/<key>.json` for every
manifest. Any web server can serve the folder; which one does is not decided here.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from pydantic import ValidationError

from pipecatapp.artifacts.artifact_key import mirror_path
from pipecatapp.artifacts.artifact_store import ArtifactStore
from pipecatapp.artifacts.catalogue import Catalogue
from pipecatapp.artifacts.manifest import MANIFEST, Manifest
from pipecatapp.artifacts.model_store import ModelStore


def publish(target: Path, catalogue: Catalogue, models: ModelStore, artifacts: ArtifactStore) -> int:
    """Put everything that is here and right into `target`, by hard link where that is possible.

    Args:
        target: The mirror's folder.
        catalogue: What there may be.
        models: The models here.
        artifacts: The binaries here.

    Returns:
        How many files were added.
    """
    target.mkdir(parents=True, exist_ok=True)
    added = 0
    for model in catalogue.models:
        states = models.states(model.name)
        for file in model.resolved_files():
            if states[file.filename] == "present":
                added += _add(models.root / file.filename, target / file.sha256)
    for name in catalogue.artifacts:
        manifest = artifacts.manifest(name)
        if manifest is None or _is_listed(target, manifest) or artifacts.problems(name):
            continue
        for item in manifest.files:
            added += _add(artifacts.folder(name) / "bin" / item.path, target / item.sha256)
        _listing(target, manifest).unlink(missing_ok=True)
        added += _add(artifacts.folder(name) / MANIFEST, _listing(target, manifest))
    return added


def _listing(target: Path, manifest: Manifest) -> Path:
    return target / mirror_path(manifest.name, manifest.key)


def _is_listed(target: Path, manifest: Manifest) -> bool:
    """Whether the mirror has these very programs; what is there was proven when it was added."""
    try:
        listed = Manifest.model_validate_json(_listing(target, manifest).read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return False
    return listed.digest == manifest.digest and all((target / file.sha256).is_file() for file in listed.files)


def _add(source: Path, target: Path) -> int:
    if target.exists():
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.copyfile(source, draft)
        draft.replace(target)
    return 1
