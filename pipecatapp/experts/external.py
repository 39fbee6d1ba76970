"""External experts: servers outside the cluster, as the owner has listed them.

It owns the file's form, and that a key is named there and never written. Reading keys is
`app.external_api_keys`'s, asking a server its client's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from pipecatapp.errors import ConfigError
from pipecatapp.experts.expert_metadata import MAX_EXAMPLES, ExpertName, Profile, Value, to_meta
from pipecatapp.experts.service_names import NATIVE_TOOLS, service_of
from pipecatapp.ports import MAIN_EXPERT, Endpoint

FILE_NAME = "external_experts.yaml"
"""Who is elsewhere, in the catalogue's folder."""
KEY_NAME = re.compile(r"[a-z][a-z0-9_-]{0,29}")
"""What a key may be called. The keys that services hand out are longer, or have capital letters."""


def _not_main(name: str) -> str:
    if name == MAIN_EXPERT:
        raise ValueError(
            f"{MAIN_EXPERT} is the house's own; another server thinks in its place by LLM_BASE_URL"
        )
    return name


def _base_url(text: str) -> str:
    url = urlsplit(text.rstrip("/"))
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError("is no address such as https://api.example.com/v1")
    if url.username is not None or url.query or url.fragment:
        raise ValueError("has a name, a password or a query; a key belongs into external_keys.yaml")
    if not url.path.endswith("/v1"):
        raise ValueError("does not end in /v1")
    try:
        _ = url.port
    except ValueError as exc:
        raise ValueError("has a port that is no number from 1 to 65535") from exc
    return url.geturl()


def _key_name(text: str) -> str:
    if not KEY_NAME.fullmatch(text):
        raise ValueError(
            "is no name of a key (up to 30 small letters, digits, _ and -). "
            "The key itself belongs into external_keys.yaml, never into this file"
        )
    return text


class _Entry(BaseModel):
    """One expert, as it is written down."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    base_url: Annotated[str, AfterValidator(_base_url)]
    model: Value
    key: Annotated[str, AfterValidator(_key_name)] | None = None
    calls_tools: bool = False
    description: Value | None = None
    examples: tuple[Value, ...] = Field((), max_length=MAX_EXAMPLES)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    external_experts: dict[Annotated[ExpertName, AfterValidator(_not_main)], _Entry] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalExpert:
    """A server elsewhere.

    Args:
        name: The expert.
        base_url: Ends in /v1.
        model: What it is asked for.
        api_key: Sent as a bearer token; "" for none.
        calls_tools: Its model calls tools by itself.
        profile: What it is good at; None when nobody says, and it is asked by name only.
    """

    name: str
    base_url: str
    model: str
    api_key: str = field(default="", repr=False)
    calls_tools: bool = False
    profile: Profile | None = None

    @property
    def endpoint(self) -> Endpoint:
        """What the house's directory says of it; its key is not among that."""
        url = urlsplit(self.base_url)
        host = url.hostname or ""
        return Endpoint(
            service=service_of(self.name),
            id=f"elsewhere/{self.name}",
            node=host,
            address=host,
            port=url.port or (443 if url.scheme == "https" else 80),
            tags=(NATIVE_TOOLS,) if self.calls_tools else (),
            meta=to_meta(self.profile) if self.profile is not None else {},
            external_base_url=self.base_url,
        )


def load_external(folder: Path, keys: Mapping[str, str], keys_from: str) -> tuple[ExternalExpert, ...]:
    """Return the experts elsewhere, in the file's order; none when the folder has no such file.

    Args:
        folder: Where the file is.
        keys: Keys by their names.
        keys_from: Where those are from, for the error.

    Raises:
        ConfigError: The file cannot be read, something in it is wrong or a key is missing; the message names
            the place, and never a value.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return ()
    try:
        document: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        entries = _File.model_validate(document).external_experts or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise ConfigError("external-experts", f"{path} cannot be read: {_why(exc)}") from exc
    except ValidationError as exc:
        first = exc.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ConfigError("external-experts", f"{path}: {place}: {first['msg']}") from exc
    for name, entry in entries.items():
        if entry.key is not None and entry.key not in keys:
            known = ", ".join(sorted(keys)) or "none"
            raise ConfigError(
                "external-experts",
                f"{path}: external_experts.{name}.key: there is no key {entry.key!r} in {keys_from}; "
                f"known: {known}",
                hint="docs/experts.md says where keys are kept.",
            )
    return tuple(_read(name, entry, keys) for name, entry in entries.items())


def _read(name: str, entry: _Entry, keys: Mapping[str, str]) -> ExternalExpert:
    profile = None
    if entry.description is not None or entry.examples:
        profile = Profile(description=entry.description or name, examples=entry.examples)
    key = keys[entry.key] if entry.key is not None else ""
    return ExternalExpert(
        name=name,
        base_url=entry.base_url,
        model=entry.model,
        api_key=key,
        calls_tools=entry.calls_tools,
        profile=profile,
    )


def _why(exc: Exception) -> str:
    """Return where a file is no YAML, without what stands there: it may be a key."""
    mark = getattr(exc, "problem_mark", None)
    if mark is not None:
        return f"line {mark.line + 1} is no YAML"
    return "it is no YAML" if isinstance(exc, yaml.YAMLError) else str(exc)
