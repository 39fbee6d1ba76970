"""An expert's description and examples, in Consul's metadata or in the file of the well-known ones.

It owns the metadata's keys and Consul's limits; what follows from a profile is the registry's and the
workflow's business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from pipecatapp.errors import ConfigError
from pipecatapp.experts.service_names import EXPERT_PREFIX

FILE_NAME = "experts.yaml"
"""What the well-known experts say, in the catalogue's folder."""
DESCRIPTION_KEY = "description"
EXAMPLE_KEY = "example_"
"""`example_1`, `example_2` ... each hold one request."""
MAX_VALUE_BYTES = 512
"""Longest value in a service's metadata
(developer.hashicorp.com/consul/docs/reference/service, `meta`)."""
MAX_EXAMPLES = 60
"""Consul takes 64 pairs (the same page); the description is one, Nomad adds one, two are left for others."""
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?")
"""An expert's name as a part of a service's: a DNS label of 63 letters less the prefix and room to spare."""

_EXAMPLE = re.compile(rf"{EXAMPLE_KEY}([0-9]{{1,3}})")


def _one_value(text: str) -> str:
    line = " ".join(text.split())
    if not line:
        raise ValueError("is empty")
    if len(line.encode()) > MAX_VALUE_BYTES:
        raise ValueError(f"has {len(line.encode())} bytes; at most {MAX_VALUE_BYTES} are allowed")
    return line


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ValueError(
            f"is no name of an expert (small letters, digits and dashes, as in {EXPERT_PREFIX}math)"
        )
    return text


Value = Annotated[str, AfterValidator(_one_value)]
"""A text that is one value of metadata."""
ExpertName = Annotated[str, AfterValidator(_name)]
"""An expert's name."""


class Profile(BaseModel):
    """What an expert is good at."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: Value
    """One or two sentences."""
    examples: tuple[Value, ...] = Field((), max_length=MAX_EXAMPLES)
    """Requests that are for it."""


class ProfilesFile(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    experts: dict[ExpertName, Profile]


def load_profiles(folder: Path) -> Mapping[str, Profile]:
    """Return what the well-known experts say, by name; nothing when the folder has no such file.

    Raises:
        ConfigError: The file cannot be read or something in it is wrong; the message names the place.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return {}
    try:
        document: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        return TypeAdapter(ProfilesFile).validate_python(document).experts
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise ConfigError("experts-file", f"{path} cannot be read: {exc}") from exc
    except ValidationError as exc:
        first = exc.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ConfigError("experts-file", f"{path}: {place}: {first['msg']}") from exc


def parse_meta(meta: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """Return description and examples from a service's metadata; "" and none when it says nothing.

    Anybody who may register a service writes what is read here: each text becomes one line of bounded length,
    and keys that are not ours are passed over.
    """
    numbered: dict[int, str] = {}
    for key, value in meta.items():
        match = _EXAMPLE.fullmatch(key)
        if match and (line := _clipped(value)):
            numbered[int(match[1])] = line
    examples = tuple(numbered[number] for number in sorted(numbered))[:MAX_EXAMPLES]
    return _clipped(meta.get(DESCRIPTION_KEY, "")), examples


def to_meta(profile: Profile) -> dict[str, str]:
    """Return the metadata that a service with this profile is registered with."""
    examples = {f"{EXAMPLE_KEY}{number}": text for number, text in enumerate(profile.examples, 1)}
    return {DESCRIPTION_KEY: profile.description} | examples


def _clipped(text: str) -> str:
    line = " ".join(text.split())
    return line.encode()[:MAX_VALUE_BYTES].decode(errors="ignore")
