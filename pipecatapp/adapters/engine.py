"""What is known of an engine before it is loaded: the form of an entry in a table of engines.

Each kind has its table beside its adapters (`stt/engines.py`, `tts/engines.py`, `embed/engines.py`,
`llm/engines.py`); settings, `twin doctor`, the trials and docs/reference/engines.md are derived from it.
Not here: which engine is picked (`app/engines`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Generic, TypeVar

E_co = TypeVar("E_co", covariant=True)


class Default(Enum):
    """When the setting `auto` takes an engine; of several in a table the first that this machine can run."""

    NEVER = "never"
    """Only when it is named."""
    ALWAYS = "always"
    """Wherever the CPU runs it; an absent model is an error that says how to fetch it."""
    WITH_MODEL = "with model"
    """Where the CPU runs it and a model of it is here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeTrial:
    """One real operation that a child process does before the agent depends on native code.

    Args:
        name: What `twin trials` calls it; engines with the same native code share one.
        label: What a person calls it.
        part: The part of the agent that it stands behind, as `GET /health` names it.
        libraries: Packages with native code, as they are imported and as they are installed; another version
            of one is tried anew.
        steps: Variables that forbid it instruction sets, tried one after the other once it has died.
    """

    name: str
    label: str
    part: str
    libraries: Mapping[str, str]
    steps: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """An engine as its table has it.

    Args:
        label: What a sentence calls it.
        title: What it is, a line for the docs.
        default: When `auto` takes it.
        requires_cpu: Features without which it dies, in the spelling of /proc/cpuinfo.
        extra: Extra of pyproject.toml that brings its packages; "" when it needs none.
        models: How the names of its models in `models.yaml` begin; "" when it has none there.
        package: Debian package of the program that it runs; "" for none.
        needs_server: Whether it asks a server that a `..._BASE_URL` names.
        trial: What is tried before it is used; None for what runs on every CPU.
        note: What else a person should know, as a phrase.
    """

    label: str
    title: str
    default: Default = Default.NEVER
    requires_cpu: tuple[str, ...] = ()
    extra: str = ""
    models: str = ""
    package: str = ""
    needs_server: bool = False
    trial: NativeTrial | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """What an engine may be loaded with; each takes what it knows.

    Args:
        model: Its model's file or folder; an empty path when it has none here.
        model_name: Its model as a server calls it; "" for the server's usual one.
        voice: Voice within the model; "" for its first.
        language: Of the voice, as in BCP 47.
        threads: CPU threads, > 0.
        base_url: Of its server, ending in /v1; "" for none.
        api_key: What that server is shown; "" for none.
    """

    model: Path = Path()
    model_name: str = ""
    voice: str = ""
    language: str = "en-US"
    threads: int = 1
    base_url: str = ""
    api_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadableEngine(EngineSpec, Generic[E_co]):
    """An engine that runs in, or is asked from, the agent's process.

    Args:
        load: Imports its adapter and returns it ready; everything heavy happens here.
    """

    load: Callable[[EngineOptions], Awaitable[E_co]]


FEATURE_NAMES = {"sse4_1": "SSE4.1", "avx2": "AVX2", "bmi2": "BMI2", "f16c": "F16C", "fma": "FMA"}
"""Features of /proc/cpuinfo as people write them."""


def feature_names(flags: tuple[str, ...]) -> str:
    """Return CPU features as people write them, with commas between."""
    return ", ".join(FEATURE_NAMES.get(flag, flag) for flag in flags)
