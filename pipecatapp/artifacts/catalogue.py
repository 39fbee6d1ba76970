"""The catalogue of models and binaries, and the choice among them.

It owns reading `models.yaml` and `artifacts.yaml` and saying what is wrong in them; where files come
from is `fetcher`'s business, and which machine this is, its caller's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from pipecatapp.artifacts.artifact_schema import (
    AnyArtifact,
    ArchiveArtifact,
    ArtifactsFile,
    BuildRecipe,
    CmakeArtifact,
    GoArtifact,
    GoRecipe,
    GoToolchain,
    ReleaseArchive,
)
from pipecatapp.artifacts.model_schema import (
    DebianSource,
    FileEntry,
    LocalSource,
    ModelEntry,
    ModelShape,
    NpmSource,
    PackagePart,
    PypiSource,
    SdistSource,
    UrlSource,
    WheelSource,
)
from pipecatapp.errors import ConfigError

MODELS_FILE = "models.yaml"
"""Name of the file of models."""
ARTIFACTS_FILE = "artifacts.yaml"
"""Name of the file of binaries."""
LIST_SUFFIX = "_models"
"""Every top-level key of `models.yaml` is an expert's name and this."""
DEFAULT_EXPERTS: tuple[str, ...] = ("main", "stt", "tts", "embedding")
"""What one machine needs to hold a conversation."""

_T = TypeVar("_T")

_SOURCE_TYPES: Mapping[str, type[BaseModel]] = {
    "url": UrlSource,
    "local": LocalSource,
    "pypi": PypiSource,
    "npm": NpmSource,
    "sdist": SdistSource,
    "wheel": WheelSource,
    "debian": DebianSource,
}
_ARTIFACT_TYPES: Mapping[str, type[BaseModel]] = {
    "cmake": CmakeArtifact,
    "go-module": GoArtifact,
    "archive": ArchiveArtifact,
}


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What there is.

    Args:
        experts: Lists of models in order of preference, by expert.
        artifacts: Binaries by name, and further versions of the same by `name@version`.
        go_toolchain: Go for machines that have none.
        folder: Where the catalogue's files are.
    """

    experts: Mapping[str, tuple[ModelEntry, ...]]
    artifacts: Mapping[str, AnyArtifact]
    go_toolchain: GoToolchain | None = None
    folder: Path = Path()

    @property
    def models(self) -> tuple[ModelEntry, ...]:
        """Every model once, in the order of the file."""
        return tuple({model.name: model for group in self.experts.values() for model in group}.values())

    def model(self, name: str) -> ModelEntry:
        """Return a model.

        Raises:
            ConfigError: There is none of that name; the message lists those there are.
        """
        for model in self.models:
            if model.name == name:
                return model
        known = ", ".join(model.name for model in self.models)
        raise ConfigError("unknown-model", f"unknown model '{name}'; known: {known}")

    def artifact(self, name: str) -> AnyArtifact:
        """Return binaries.

        Args:
            name: The name, which means the first version of the file, or `name@version`.

        Raises:
            ConfigError: There are none of that name or version; the message lists those there are.
        """
        if name in self.artifacts:
            return self.artifacts[name]
        first = self.artifacts.get(name.partition("@")[0])
        if first is not None and name == f"{first.name}@{first.version}":
            return first
        raise ConfigError(
            "unknown-artifact", f"unknown artefact '{name}'; known: {', '.join(self.artifacts)}"
        )

    def expert(self, expert: str) -> tuple[ModelEntry, ...]:
        """Return an expert's models in order of preference; its list's key will do as well.

        Raises:
            ConfigError: There is no such expert; the message lists those there are.
        """
        if (name := expert.removesuffix(LIST_SUFFIX)) in self.experts:
            return self.experts[name]
        raise ConfigError("unknown-expert", f"unknown expert '{expert}'; known: {', '.join(self.experts)}")

    def experts_of(self, name: str) -> tuple[str, ...]:
        """Return the experts whose list has the model `name`."""
        return tuple(
            expert for expert, group in self.experts.items() if any(model.name == name for model in group)
        )

    def choose(
        self,
        expert: str,
        *,
        profile: Literal["auto", "embedded", "hub"] = "auto",
        memory_mb: int | None = None,
        cpu_flags: Iterable[str] | None = None,
        present: Collection[str] = (),
    ) -> tuple[ModelEntry, ...]:
        """Return the models that a machine can run, best first.

        Args:
            expert: Whose list.
            profile: `embedded` leaves the hub's models out; `hub` takes the whole list; `auto` takes first
                what is present, of either kind, and then the embedded ones.
            memory_mb: Memory for the model (mebibytes); None for no limit.
            cpu_flags: The CPU's features; None when they do not matter.
            present: Names of the models that are on this machine.

        Raises:
            ConfigError: There is no such expert.
        """
        flags = None if cpu_flags is None else frozenset(cpu_flags)
        fitting = [model for model in self.expert(expert) if model.fits(memory_mb, flags)]
        if profile == "hub":
            return tuple(fitting)
        embedded = [model for model in fitting if model.profile == "embedded"]
        if profile == "embedded":
            return tuple(embedded)
        here = [model for model in fitting if model.name in present]
        return tuple(here + [model for model in embedded if model.name not in present])


def load_catalogue(folder: Path) -> Catalogue:
    """Read both files of `folder`.

    Raises:
        ConfigError: A file is absent or wrong; the message names file, line and key, and what is valid.
    """
    experts = _parse_models(folder / MODELS_FILE)
    artifacts, toolchain = _parse_artifacts(folder / ARTIFACTS_FILE)
    return Catalogue(experts=experts, artifacts=artifacts, go_toolchain=toolchain, folder=folder)


def _parse_models(path: Path) -> dict[str, tuple[ModelEntry, ...]]:
    data, tree = _read(path)
    wrong = [key for key in data if not (isinstance(key, str) and key.endswith(LIST_SUFFIX))]
    if wrong:
        line = _line(tree, [wrong[0]])
        raise _error(path, line, str(wrong[0]), f"unknown key; valid are lists named <expert>{LIST_SUFFIX}")
    lists = _validate(path, tree, TypeAdapter(dict[str, tuple[ModelEntry, ...]]), ModelEntry, data)
    _check_names(path, tree, lists)
    return {key.removesuffix(LIST_SUFFIX): models for key, models in lists.items()}


def _parse_artifacts(path: Path) -> tuple[dict[str, AnyArtifact], GoToolchain | None]:
    data, tree = _read(path)
    parsed = _validate(path, tree, TypeAdapter(ArtifactsFile), ArtifactsFile, data)
    found: dict[str, AnyArtifact] = {}
    for index, artifact in enumerate(parsed.artifacts):
        full = f"{artifact.name}@{artifact.version}"
        first = found.setdefault(artifact.name, artifact)
        if first is artifact:
            continue
        if full in found or first.version == artifact.version:
            line = _line(tree, ["artifacts", index])
            raise _error(path, line, f"artifacts[{index}]", f"{artifact.label} is listed twice")
        found[full] = artifact
    for index, artifact in enumerate(parsed.artifacts):
        older = artifact.older if isinstance(artifact, GoArtifact) else ""
        if older and f"{artifact.name}@{older}" not in found:
            line = _line(tree, ["artifacts", index, "older"])
            message = f"there is no version '{older}' of {artifact.name}"
            raise _error(path, line, f"artifacts[{index}].older", message)
    return found, parsed.go_toolchain


def _check_names(path: Path, tree: yaml.Node, lists: Mapping[str, Sequence[ModelEntry]]) -> None:
    """Refuse one name, or one place on the disk, for two different things."""
    by_name: dict[str, ModelEntry] = {}
    by_file: dict[str, FileEntry] = {}
    for key, models in lists.items():
        for index, model in enumerate(models):
            line = _line(tree, [key, index])
            known = by_name.setdefault(model.name, model)
            if known != model:
                message = f"two different models are called '{model.name}'"
                raise _error(path, line, f"{key}[{index}]", message)
            for file in model.resolved_files():
                other = by_file.setdefault(file.filename, file)
                if other.sha256 != file.sha256:
                    message = f"two different files would be written to '{file.filename}'"
                    raise _error(path, line, f"{key}[{index}]", message)


def _read(path: Path) -> tuple[dict[Any, Any], yaml.Node]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as exc:
        hint = "TWIN_CATALOGUE_DIR names the folder of models.yaml and artifacts.yaml."
        raise ConfigError("catalogue", f"{path}: cannot be read: {exc.strerror}", hint=hint) from exc
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as exc:
        line = exc.problem_mark.line + 1 if exc.problem_mark else 0
        raise _error(path, line, "", f"is not YAML: {exc.problem}") from exc
    if not isinstance(data, dict) or tree is None:
        raise _error(path, 1, "", "must be a mapping of keys to values")
    return data, tree


def _validate(
    path: Path, tree: yaml.Node, adapter: TypeAdapter[_T], root: type[BaseModel], data: object
) -> _T:
    try:
        return adapter.validate_python(data)
    except ValidationError as exc:
        # A misspelt key is both unknown and missing under its right name: say the first.
        problem = min(exc.errors(), key=lambda error: error["type"] != "extra_forbidden")
        loc = _without_tags(problem["loc"])
        text = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            text = f"unknown key; valid: {', '.join(_valid_keys(root, problem['loc']))}"
        elif problem["type"] == "union_tag_invalid":
            text = f"unknown kind; valid: {', '.join(_kinds(loc))}"
        elif problem["type"] == "union_tag_not_found":
            text = f"it needs a kind; valid: {', '.join(_kinds(loc))}"
        elif problem["type"] == "missing":
            text = "is required"
        elif problem["type"] == "string_type" and isinstance(problem["input"], int | float):
            text = f"{problem['input']} is a number here; write it in quotes"
        raise _error(path, _line(tree, loc), _spell(loc), text) from exc


def _valid_keys(root: type[BaseModel], loc: Sequence[int | str]) -> list[str]:
    """Return the keys that are valid where `loc` has an unknown one."""
    owner: type[BaseModel] = root
    nested: Mapping[str, type[BaseModel]] = {
        "source": FileEntry,
        "files": FileEntry,
        "build": BuildRecipe,
        "go": GoRecipe,
        "releases": ReleaseArchive,
        "go_toolchain": GoToolchain,
        "parts": PackagePart,
        "shape": ModelShape,
        **_ARTIFACT_TYPES,
        **_SOURCE_TYPES,
    }
    for part in loc[:-1]:
        owner = nested.get(str(part), owner)
    return list(owner.model_fields)


def _kinds(loc: Sequence[int | str]) -> Mapping[str, type[BaseModel]]:
    """Return the kinds that are valid at `loc`."""
    return _ARTIFACT_TYPES if len(loc) < 3 else _SOURCE_TYPES


def _without_tags(loc: Sequence[int | str]) -> list[int | str]:
    """Return `loc` without the kinds that pydantic puts after an entry's index."""
    return [
        part
        for index, part in enumerate(loc)
        if not (
            index > 1
            and (
                (part in _SOURCE_TYPES and loc[index - 2] == "sources")
                or (part in _ARTIFACT_TYPES and loc[index - 2] == "artifacts")
            )
        )
    ]


def _spell(loc: Sequence[int | str]) -> str:
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _line(tree: yaml.Node, loc: Sequence[int | str]) -> int:
    """Return the line, from 1, of the deepest node on the way to `loc` that the file has."""
    node = tree
    line = tree.start_mark.line
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if found is None:
                break
            line, node = found[0].start_mark.line, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line
        else:
            break
    return line + 1


def _error(path: Path, line: int, key: str, text: str) -> ConfigError:
    where = f"{path.name}:{line}" if line else path.name
    return ConfigError("catalogue", f"{where}: {f'{key}: ' if key else ''}{text}", hint=f"Correct {path}.")
