"""A node profile: the file that `twin node profile` writes and `twin plan` reads.

It owns the profile's schema and how it is published in Nomad; measuring is `ops.node_profile`'s.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipecatapp.errors import ConfigError

SCHEMA_VERSION = 1
META_KEY = "twin_profile"
"""Name of the whole profile in Nomad's node metadata."""
NOTED_FLAGS = (
    "sse2",
    "ssse3",
    "sse4_1",
    "sse4_2",
    "popcnt",
    "avx",
    "f16c",
    "fma",
    "avx2",
    "bmi1",
    "bmi2",
    "avx512f",
    "avx512bw",
    "avx512vl",
)
"""Features that decide which program or model runs, as /proc/cpuinfo spells them; others are left out."""


class ThreadSpeed(BaseModel):
    """How quick a node is with so many threads.

    Args:
        threads: CPU threads, > 0.
        memory_read_mb_s: Memory read one after the other (10^6 bytes a second).
        prefill_tokens_s: Prompt read by the small model (tokens a second).
        decode_tokens_s: Answer written by the small model (tokens a second).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    threads: int = Field(gt=0)
    memory_read_mb_s: float = Field(gt=0)
    prefill_tokens_s: float = Field(gt=0)
    decode_tokens_s: float = Field(gt=0)


class NodeProfile(BaseModel):
    """A node, as it measured itself.

    Args:
        schema_version: Of this file's form.
        node: The machine's name.
        measured_at: When, in UTC, such as 2026-03-01T12:00:00Z.
        note: Anything a person should know, such as that the machine is an example.
        cpu_model: The CPU's name.
        cores: Processors, > 0.
        cpu_flags: Those of `NOTED_FLAGS` that it has.
        memory_mb: Memory of the machine (mebibytes).
        available_mb: Memory that could be had without swapping when it was measured (mebibytes).
        model: The small model that speeds are of.
        program: What ran it.
        speeds: By number of threads, rising.
        disk_read_mb_s: The models' folder, past the kernel's cache (10^6 bytes a second); None when it
            cannot be told.
        link_mbit_s: The network card that the default route goes by (10^6 bits a second); None when it cannot
            be told.
        set_aside: What dies on this CPU and is not used, and why; written only where there is any.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    node: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    measured_at: str = Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
    note: str = ""
    cpu_model: str
    cores: int = Field(gt=0)
    cpu_flags: tuple[str, ...]
    memory_mb: int = Field(gt=0)
    available_mb: int = Field(ge=0)
    model: str
    program: str
    speeds: tuple[ThreadSpeed, ...] = Field(min_length=1)
    disk_read_mb_s: float | None = Field(None, gt=0)
    link_mbit_s: int | None = Field(None, gt=0)
    set_aside: dict[str, str] = Field({}, exclude_if=operator.not_)

    @model_validator(mode="after")
    def _rising(self) -> Self:
        threads = [speed.threads for speed in self.speeds]
        if threads != sorted(set(threads)):
            raise ValueError("speeds must be in rising order of threads, each number once")
        return self

    def at(self, threads: int) -> ThreadSpeed:
        """Return the speeds with the most threads that are no more than `threads`; else the first."""
        fitting = [speed for speed in self.speeds if speed.threads <= threads]
        return fitting[-1] if fitting else self.speeds[0]

    def to_text(self) -> str:
        """Return the file's text."""
        return self.model_dump_json(indent=1) + "\n"

    def to_meta(self) -> dict[str, str]:
        """Return it as metadata of a Nomad node: the whole, and what a job's constraint may ask for.

        Nomad's values are texts; a constraint compares numbers in them by value when both sides are numbers
        (developer.hashicorp.com/nomad/docs/job-specification/constraint).
        """
        best = self.at(expert_threads(self.cores))
        return {
            META_KEY: self.model_dump_json(),
            "twin_decode_tokens_s": f"{best.decode_tokens_s:.1f}",
            "twin_prefill_tokens_s": f"{best.prefill_tokens_s:.1f}",
            "twin_memory_read_mb_s": f"{best.memory_read_mb_s:.0f}",
        }


def expert_threads(cores: int) -> int:
    """Return the threads of an expert's server on a node: one core is left to the sound (docs/engines.md)."""
    return max(1, cores - 1)


def measured_threads(cores: int) -> tuple[int, ...]:
    """Return the numbers of threads that a node measures: one, what an expert takes, and all."""
    return tuple(sorted({1, expert_threads(cores), cores}))


def parse_profile(text: str, where: str) -> NodeProfile:
    """Return the profile that `text` is.

    Args:
        text: JSON.
        where: Whose text, for the message.

    Raises:
        ConfigError: It is none, or of another version; the message says what is wrong.
    """
    try:
        return NodeProfile.model_validate_json(text)
    except ValidationError as exc:
        faults = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'the whole'}: {item['msg']}" for item in exc.errors()
        )
        raise ConfigError(
            "node-profile",
            f"{where} is no profile of a node: {faults}",
            hint="Measure anew: twin node profile --force",
        ) from exc


def read_profile(path: Path) -> NodeProfile:
    """Return the profile of a file.

    Raises:
        ConfigError: The file cannot be read or is no profile.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError("node-profile", f"{path} cannot be read: {exc}") from exc
    return parse_profile(text, str(path))


def read_profiles(folder: Path) -> tuple[NodeProfile, ...]:
    """Return the profiles of a folder's `.json` files, by the nodes' names.

    Raises:
        ConfigError: There is no such folder, it holds none, one is wrong, or two are of one node.
    """
    if not folder.is_dir():
        raise ConfigError("no-profiles", f"There is no folder {folder}.")
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise ConfigError(
            "no-profiles",
            f"{folder} holds no profile.",
            hint="Put there what `twin node profile --json` prints on each node, a file NAME.json for each.",
        )
    found: dict[str, NodeProfile] = {}
    for path in paths:
        profile = read_profile(path)
        if profile.node in found:
            raise ConfigError(
                "no-profiles", f"{path}: the node '{profile.node}' has two profiles in {folder}."
            )
        found[profile.node] = profile
    return tuple(found[name] for name in sorted(found))


def from_meta(node: str, meta: Mapping[str, str]) -> NodeProfile | None:
    """Return the profile that a node published in Nomad, None when it published none.

    Raises:
        ConfigError: What it published is no profile.
    """
    text = meta.get(META_KEY, "")
    return parse_profile(text, f"What {node} says in Nomad") if text else None
