"""The whole memory as one file that a person may keep, copy and read.

It owns the file's format; where files are kept is the SavedStates port's, what is in the memory the store's.

    {"format": "twin-memory-state", "version": 1, "saved_s": 1700000000.0,
     "facts": [{"id", "text", "created_s", "session_id"}],
     "conversations": {"<session id>": [{"turn_id", "user_text", "assistant_text", "interrupted",
                                         "created_s"}]}}
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipecatapp.errors import ConfigError
from pipecatapp.ports import Fact, MemoryState, StoredTurn

STATE_FORMAT = "twin-memory-state"
"""First thing in the file: what it is."""
STATE_VERSION = 1
"""Newest version that can be read, and the one that is written."""


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


def encode_state(state: MemoryState, *, saved_s: float) -> bytes:
    """Return a state's file.

    Args:
        state: What to save.
        saved_s: Seconds since the epoch.
    """
    return json.dumps(_to_record(state, saved_s).model_dump(), ensure_ascii=False, indent=1).encode()


def decode_state(name: str, data: bytes) -> MemoryState:
    """Read and check a state's file.

    Args:
        name: What errors call it.
        data: The file.

    Raises:
        ConfigError: It is damaged (422), or a newer version of the program wrote it (409).
    """
    return _to_state(_parse(name, data))


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
        facts=tuple(
            Fact(id=f.id, text=f.text, created_s=f.created_s, session_id=f.session_id) for f in record.facts
        ),
        conversations={
            session_id: tuple(
                StoredTurn(
                    turn_id=t.turn_id,
                    user_text=t.user_text,
                    assistant_text=t.assistant_text,
                    interrupted=t.interrupted,
                    created_s=t.created_s,
                )
                for t in turns
            )
            for session_id, turns in record.conversations.items()
        },
    )
