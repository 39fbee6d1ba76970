"""HTTP bodies of the memory service, shared by its client and its server.

It owns shapes and bounds; the routes are `web/memory_api`'s, the calls `adapters/memory/remote`'s.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from pipecatapp.ports import Fact, MemoryChange, MemoryState, SavedState, StoredTurn
from pipecatapp.ports.event_log import AuditReport

MAX_TEXT_CHARS = 32_000
"""Longest text of a fact or of one side of a turn; two of them fit a transaction of Consul."""
MAX_LIMIT = 10_000
"""Most facts or turns that one call returns."""

RequestId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{8,64}$")]
"""Name of a request; whatever comes under the same name again is not done again."""
Name = Annotated[str, Field(max_length=1_000)]
Text = Annotated[str, Field(max_length=MAX_TEXT_CHARS)]

FACT = TypeAdapter(Fact)
FACTS = TypeAdapter(list[Fact])
TURNS = TypeAdapter(list[StoredTurn])
STATE = TypeAdapter(MemoryState)
CHANGES = TypeAdapter(list[MemoryChange])
REPORT = TypeAdapter(AuditReport)
SAVED = TypeAdapter(SavedState)
SAVED_LIST = TypeAdapter(list[SavedState])


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    def to_wire(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return self.model_dump(mode="json")


class Request(_Body):
    """A request that is done once."""

    request_id: RequestId


class AddFact(Request):
    """A fact to remember."""

    text: Text
    session_id: Name = ""


class DeleteFact(Request):
    """A fact to forget."""

    fact_id: Name


class TurnRecord(_Body):
    """A finished turn."""

    turn_id: Name
    user_text: Text
    assistant_text: Text
    interrupted: bool
    created_s: float

    def to_turn(self) -> StoredTurn:
        """Return it as the memory keeps it."""
        return StoredTurn(
            turn_id=self.turn_id,
            user_text=self.user_text,
            assistant_text=self.assistant_text,
            interrupted=self.interrupted,
            created_s=self.created_s,
        )

    @classmethod
    def of(cls, turn: StoredTurn) -> TurnRecord:
        """Return a turn as it is sent; texts beyond the bound are cut."""
        return cls(
            turn_id=turn.turn_id,
            user_text=turn.user_text[:MAX_TEXT_CHARS],
            assistant_text=turn.assistant_text[:MAX_TEXT_CHARS],
            interrupted=turn.interrupted,
            created_s=turn.created_s,
        )


class AppendTurn(Request):
    """A turn to keep."""

    session_id: Name
    turn: TurnRecord


class Search(_Body):
    """A search by meaning."""

    query: Text
    limit: Annotated[int, Field(le=MAX_LIMIT)]


class RecentTurns(_Body):
    """A conversation's end."""

    session_id: Name
    limit: Annotated[int, Field(le=MAX_LIMIT)]


class WholeState(Request):
    """A whole memory."""

    state: MemoryState


class HandOver(_Body):
    """What another instance took in."""

    changes: list[MemoryChange]
