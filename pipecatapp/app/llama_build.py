"""The llama.cpp that was built on this machine: its programs, and the model it is tried with.

It owns those two questions; which of its CPU libraries works is `llama_variants`'.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from pipecatapp.adapters.host.cpu import CpuInfo
from pipecatapp.app.local_llm import LLAMA_CPP, default_llm
from pipecatapp.artifacts.artifact_store import ArtifactStore
from pipecatapp.artifacts.model_store import ModelStore
from pipecatapp.errors import AgentError
from pipecatapp.settings import Settings

SMALL_MODEL = "smollm2-135m"
"""What every node is measured and tried with: every CPU runs it, and 270 MiB are free everywhere. Its
weights (Q4_1) are of a type for which llama.cpp has code for every CPU library, AMX too."""


def llama_program(settings: Settings, store: ModelStore, name: str) -> Path | None:
    """Return a built program: this machine's own, else the one that PATH leads to; None without."""
    artifacts = ArtifactStore(settings.cache_dir / "artifacts", store.catalogue)
    if artifacts.is_present(LLAMA_CPP):
        return artifacts.path(LLAMA_CPP, name)
    # A cluster's nodes have it from the first controller, linked into PATH (role artifact).
    linked = shutil.which(name)
    return Path(linked) if linked else None


def trial_model(settings: Settings, store: ModelStore, cpu: CpuInfo) -> Path | None:
    """Return the model to try a build with: the one that this machine thinks with, else the small one."""
    try:
        return store.path(default_llm(settings, store, cpu))
    except AgentError:
        return store.path(SMALL_MODEL) if store.is_present(SMALL_MODEL) else None
