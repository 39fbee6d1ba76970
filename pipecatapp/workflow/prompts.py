"""The prompts, one text file each.

It owns reading them and filling their `{placeholders}`; which prompt goes where is a workflow's business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from pipecatapp.errors import ConfigError

PROMPTS_DIR = Path(__file__).resolve().parent.parent / "prompts"
"""The prompts that are shipped."""

MAX_PROMPT_CHARS = 8000
"""A prompt longer than this does not fit an embedded model's context of 4096 tokens with a conversation."""

_PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")


class PromptLibrary:
    """Every `*.txt` of one folder, read once.

    Args:
        folder: Where the prompts are.

    Raises:
        ConfigError: The folder holds none, or one is empty, too long or not UTF-8.
    """

    def __init__(self, folder: Path = PROMPTS_DIR) -> None:
        self._texts: dict[str, str] = {}
        for path in sorted(folder.glob("*.txt")):
            self._texts[path.stem] = _read(path)
        if not self._texts:
            raise ConfigError("prompts", f"No prompts (*.txt) in {folder}.")

    def names(self) -> tuple[str, ...]:
        """Return the prompts' names, sorted."""
        return tuple(self._texts)

    def get(self, name: str) -> str:
        """Return a prompt as it stands.

        Raises:
            ConfigError: There is none of that name; the message lists those there are.
        """
        try:
            return self._texts[name]
        except KeyError:
            raise ConfigError(
                "prompts", f"unknown prompt '{name}'; known: {', '.join(self._texts)}"
            ) from None

    def lines(self, name: str) -> tuple[str, ...]:
        """Return a prompt's lines without blank ones and those that start with `#`.

        Raises:
            ConfigError: There is no prompt of that name.
        """
        lines = (line.strip() for line in self.get(name).splitlines())
        return tuple(line for line in lines if line and not line.startswith("#"))


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as exc:
        raise ConfigError("prompts", f"{path.name} is not UTF-8.") from exc
    if not text:
        raise ConfigError("prompts", f"{path.name} is empty.")
    if len(text) > MAX_PROMPT_CHARS:
        raise ConfigError(
            "prompts", f"{path.name} has {len(text)} characters; at most {MAX_PROMPT_CHARS} are allowed."
        )
    return text


def placeholders(text: str) -> tuple[str, ...]:
    """Return the names of `{placeholders}` in `text`, each once, in order."""
    return tuple(dict.fromkeys(_PLACEHOLDER.findall(text)))


def fill(text: str, values: Mapping[str, str]) -> str:
    """Put `values` in place of `{placeholders}`; anything else in braces stays as it is."""
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), text)
