"""The whole memory as one file that a person may keep, copy and read.

It owns the file's format, its names and its safety on disk; what is in the memory is the store's.

    {"format": "twin-memory-state", "version": 1, "saved_s": 1700000000.0,
     "facts": [{"id", "text", "created_s", "session_id"}],
     "conversations": {"<session id>": [{"turn_id", "user_text", "assistant_text", "interrupted",
                                         "created_s"}]}}
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipecatapp.errors import ConfigError
from pipecatapp.ports import Fact, MemoryState, StoredTurn

STATE_FORMAT = "twin-memory-state"
"""First thing in the file: what it is."""
STATE_VERSION = 1
"""Newest version that can be read, and the one that is written."""
SUFFIX = ".json"
"""How a state's file name ends."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class _FactRecord(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    id: Annotated[str, Field(min_length=1)]
    text: Annotated[str, Field(min_length=1)]
    created_s: float
    session_id: str = ""


class _TurnRecord(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    turn_id: Annotated[str, Field(min_length=1)]
    user_text: str
    assistant_text: str
    interrupted: bool
    created_s: float


class _StateRecord(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    format: Literal["twin-memory-state"]
    version: int
    saved_s: float
    facts: list[_FactRecord]
    conversations: dict[str, list[_TurnRecord]]

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        _refuse_doubles("facts", [fact.id for fact in self.facts])
        for session_id, turns in self.conversations.items():
            _refuse_doubles(f"conversations.{session_id}", [turn.turn_id for turn in turns])
        return self


@dataclass(frozen=True, slots=True)
class SavedState:
    """A saved state on disk. `saved_s` in seconds since the epoch, `size_bytes` of the file."""

    name: str
    saved_s: float
    size_bytes: int


def state_path(folder: Path, name: str) -> Path:
    """Return the file of the state called `name`.

    Raises:
        ConfigError: The name is not 1 to 64 letters, digits, `-` or `_` (422).
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            "state-name",
            f"{name!r} cannot name a saved state: use 1 to 64 letters, digits, '-' or '_',"
            " beginning with a letter or digit.",
            status=422,
        )
    return folder / f"{name}{SUFFIX}"


def save_state(folder: Path, name: str, state: MemoryState, *, saved_s: float) -> SavedState:
    """Write the state; a reader sees the old file or the new one, never half of it.

    Args:
        folder: Where states are kept; made when absent.
        name: See `state_path`.
        state: What to save.
        saved_s: Seconds since the epoch.

    Raises:
        ConfigError: The name is wrong, or the file cannot be written (507).
    """
    path = state_path(folder, name)
    data = json.dumps(_to_record(state, saved_s).model_dump(), ensure_ascii=False, indent=1).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_atomically(path, data)
    except OSError as exc:
        raise ConfigError(
            "state-not-written",
            f"The state '{name}' could not be written: {exc.strerror}.",
            hint="Check the disk's space and the folder's owner.",
            status=507,
        ) from exc
    return SavedState(name, saved_s, len(data))


def load_state(folder: Path, name: str) -> MemoryState:
    """Read and check a saved state.

    Raises:
        ConfigError: The name is wrong, there is no such state (404), it is damaged (422), or a newer version
            of the program wrote it (409).
    """
    path = state_path(folder, name)
    try:
        data = path.read_bytes()
    except FileNotFoundError as exc:
        known = ", ".join(saved.name for saved in list_states(folder)) or "none yet"
        raise ConfigError(
            "unknown-state", f"There is no saved state '{name}'; saved: {known}.", status=404
        ) from exc
    except OSError as exc:
        raise ConfigError("state-not-read", f"'{path.name}' cannot be read: {exc.strerror}.") from exc
    return _to_state(_parse(path.name, data))


def list_states(folder: Path) -> list[SavedState]:
    """Return the saved states, newest first; files that cannot be one are left out."""
    states = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        if path.is_file() and _NAME.fullmatch(path.stem):
            info = path.stat()
            states.append(SavedState(path.stem, info.st_mtime, info.st_size))
    return sorted(states, key=lambda saved: -saved.saved_s)


def _write_atomically(path: Path, data: bytes) -> None:
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _parse(file: str, data: bytes) -> _StateRecord:
    try:
        raw = json.loads(data.decode())
    except UnicodeDecodeError as exc:
        raise _damaged(file, f"byte {exc.start} is not UTF-8") from exc
    except json.JSONDecodeError as exc:
        raise _damaged(file, f"line {exc.lineno}, column {exc.colno}: {exc.msg}") from exc
    except RecursionError as exc:
        raise _damaged(file, "it is nested too deeply") from exc
    if not isinstance(raw, dict) or raw.get("format") != STATE_FORMAT:
        raise _damaged(file, f'it does not say "format": "{STATE_FORMAT}"')
    version = raw.get("version")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise _damaged(file, f"its version is {version!r}; valid: 1 to {STATE_VERSION}")
    if version > STATE_VERSION:
        raise ConfigError(
            "state-too-new",
            f"'{file}' has version {version}; this program reads up to {STATE_VERSION}.",
            hint="Load it with the newer program that wrote it.",
            status=409,
        )
    try:
        return _StateRecord.model_validate(raw)
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        more = f" (and {exc.error_count() - 1} more)" if exc.error_count() > 1 else ""
        raise _damaged(file, f"{where + ': ' if where else ''}{first['msg']}{more}") from exc


def _damaged(file: str, why: str) -> ConfigError:
    return ConfigError(
        "state-damaged",
        f"'{file}' is not a whole saved state: {why}.",
        hint="The memory was left as it is. Load another saved state.",
        status=422,
    )


def _refuse_doubles(where: str, names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{where} holds '{name}' twice")
        seen.add(name)


def _to_record(state: MemoryState, saved_s: float) -> _StateRecord:
    return _StateRecord(
        format="twin-memory-state",
        version=STATE_VERSION,
        saved_s=saved_s,
        facts=[
            _FactRecord(id=fact.id, text=fact.text, created_s=fact.created_s, session_id=fact.session_id)
            for fact in state.facts
        ],
        conversations={
            session_id: [
                _TurnRecord(
                    turn_id=turn.turn_id,
                    user_text=turn.user_text,
                    assistant_text=turn.assistant_text,
                    interrupted=turn.interrupted,
                    created_s=turn.created_s,
                )
                for turn in turns
            ]
            for session_id, turns in state.conversations.items()
        },
    )


def _to_state(record: _StateRecord) -> MemoryState:
    return MemoryState(
        facts=tuple(Fact(f.id, f.text, f.created_s, f.session_id) for f in record.facts),
        conversations={
            session_id: tuple(
                StoredTurn(t.turn_id, t.user_text, t.assistant_text, t.interrupted, t.created_s)
                for t in turns
            )
            for session_id, turns in record.conversations.items()
        },
    )
