"""API keys of external experts, by the names that `external_experts.yaml` has for them.

It owns where they are kept: a setting, which a cluster's job is given, or a file of the service's alone.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pipecatapp.errors import ConfigError
from pipecatapp.settings import Settings

FILE_NAME = "external_keys.yaml"
"""Names and keys, in TWIN_DATA_DIR."""
_FORM = "it must have lines of the form NAME: KEY"


def read_external_keys(settings: Settings) -> tuple[Mapping[str, str], str]:
    """Return keys by their names, and where they are from.

    Raises:
        ConfigError: They are in no form that can be read, or others than the service may read the file. No
            message has a key in it.
    """
    path = settings.data_dir / FILE_NAME
    text = settings.external_keys.get_secret_value()
    if text:
        return _keys_in(text, "TWIN_EXTERNAL_KEYS"), "TWIN_EXTERNAL_KEYS"
    return (_keys_in(_read(path), str(path)) if path.exists() else {}), str(path)


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise ConfigError(
                    "external-keys", f"Others may read the keys in {path}.", hint=f"chmod 600 {path}"
                )
            return file.read()
    except UnicodeDecodeError as exc:
        raise ConfigError("external-keys", f"{path} is no text; {_FORM}.") from exc
    except OSError as exc:
        raise ConfigError(
            "external-keys",
            f"{path} cannot be read: {exc.strerror}.",
            hint="It must belong to the user of the service.",
        ) from exc


def _keys_in(text: str, source: str) -> Mapping[str, str]:
    try:
        value: Any = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    if value is None:
        return {}
    if not isinstance(value, dict):
        # Neither what stands there nor the reader's own words, which quote it, are told.
        raise ConfigError("external-keys", f"{source} cannot be read; {_FORM}.")
    for name, key in value.items():
        # A key becomes a header of HTTP, where a line break would end it.
        is_text = isinstance(name, str) and isinstance(key, str)
        if not is_text or not key.isascii() or not key.isprintable():
            raise ConfigError(
                "external-keys", f"{source}: the key {name!r} is no text in one line.", hint="Quote it."
            )
    return value
