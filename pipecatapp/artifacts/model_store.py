"""The store of models on this machine.

It owns the question whether a model is here and where; what to do with it is an adapter's. Its methods
read and hash files: call them from a thread, or before the event loop starts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pipecatapp.artifacts.catalogue import Catalogue
from pipecatapp.artifacts.fetcher import Fetcher, FileState
from pipecatapp.artifacts.model_schema import FileEntry, ModelEntry
from pipecatapp.artifacts.progress import Progress
from pipecatapp.errors import ArtifactError


class ModelStore:
    """Models of `catalogue` below `models_dir`.

    Args:
        models_dir: The folder.
        catalogue: What the models are.
        mirror_url: A server that has files under their hash; "" for none.
    """

    def __init__(self, models_dir: Path, catalogue: Catalogue, *, mirror_url: str = "") -> None:
        self._root = models_dir
        self._catalogue = catalogue
        self._mirror_url = mirror_url

    @property
    def catalogue(self) -> Catalogue:
        """What the models are."""
        return self._catalogue

    @property
    def root(self) -> Path:
        """The folder."""
        return self._root

    def path(self, name: str) -> Path:
        """Return the model's file, or its folder when it has several.

        Raises:
            ConfigError: There is no such model.
            ArtifactError: It is not here or is damaged; the hint is the command that fetches it.
        """
        model = self._catalogue.model(name)
        states = self.states(name)
        damaged = [file for file, state in states.items() if state == "damaged"]
        hint = f"Fetch it with: twin models fetch {name}"
        if damaged:
            names = ", ".join(damaged)
            message = f"model '{name}' is damaged: the sha256 of {names} in {self._root} is wrong"
            raise ArtifactError("model-damaged", message, hint=hint, status=503)
        absent = [file for file, state in states.items() if state == "absent"]
        if absent:
            message = f"model '{name}' is not on this machine: {', '.join(absent)} is not in {self._root}"
            raise ArtifactError("model-absent", message, hint=hint, status=503)
        return self._root / model.relative_path

    def is_present(self, name: str) -> bool:
        """Whether every file of the model is here and right.

        Raises:
            ConfigError: There is no such model.
        """
        return all(state == "present" for state in self.states(name).values())

    def present(self) -> tuple[str, ...]:
        """Return the names of the models that are here, in the catalogue's order."""
        return tuple(model.name for model in self._catalogue.models if self.is_present(model.name))

    def states(self, name: str, *, rehash: bool = False) -> Mapping[str, FileState]:
        """Return the state of each of the model's files, by path below the folder.

        Raises:
            ConfigError: There is no such model.
        """
        files = self._catalogue.model(name).resolved_files()
        with self._fetcher() as fetcher:
            return {file.filename: fetcher.state(file, rehash=rehash) for file in files}

    def choose(
        self,
        expert: str,
        *,
        profile: Literal["auto", "embedded", "hub"] = "auto",
        memory_mb: int | None = None,
        cpu_flags: Iterable[str] | None = None,
    ) -> ModelEntry:
        """Return the best of the expert's models that is here and that this machine can run.

        Raises:
            ConfigError: There is no such expert.
            ArtifactError: None is here; the hint is the command that fetches one.
        """
        present = {model.name for model in self._catalogue.expert(expert) if self.is_present(model.name)}
        candidates = self._catalogue.choose(
            expert, profile=profile, memory_mb=memory_mb, cpu_flags=cpu_flags, present=present
        )
        for model in candidates:
            if model.name in present:
                return model
        names = ", ".join(model.name for model in candidates) or "none fits this machine's memory and CPU"
        raise ArtifactError(
            "model-absent",
            f"no model for '{expert}' is in {self._root}; candidates: {names}",
            hint=f"Fetch one with: twin models fetch --expert {expert}",
            status=503,
        )

    def ensure(
        self, name: str, progress: Progress | None = None, unreachable: dict[str, str] | None = None
    ) -> bool:
        """Bring the model if it is not here, and return whether anything was done.

        Args:
            name: Which model.
            progress: Where to report.
            unreachable: Hosts that did not answer when the models before were fetched (see `Fetcher`).

        Raises:
            ConfigError: There is no such model.
            ArtifactError: It cannot be had; the message lists every source tried.
        """
        model = self._catalogue.model(name)
        with self._fetcher(progress, unreachable) as fetcher:
            files = model.resolved_files()
            return bool(fetcher.ensure_all(files, label=name, same_content=self._same_content(model)))

    def verify(self, name: str) -> None:
        """Read every byte of the model again.

        Raises:
            ConfigError: There is no such model.
            ArtifactError: A file is absent or damaged; the message names it.
        """
        self.states(name, rehash=True)
        self.path(name)

    def _same_content(self, model: ModelEntry) -> tuple[FileEntry, ...]:
        return tuple(
            file for other in self._catalogue.models if other != model for file in other.resolved_files()
        )

    @contextmanager
    def _fetcher(
        self, progress: Progress | None = None, unreachable: dict[str, str] | None = None
    ) -> Iterator[Fetcher]:
        with Fetcher(
            self._root, mirror_url=self._mirror_url, progress=progress, unreachable=unreachable
        ) as fetcher:
            yield fetcher
