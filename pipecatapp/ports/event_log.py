"""The event log of the memory: each event carries the hash of the one before.

It owns hashes, salts and the verifier; where events and content are kept is the database's and the
replica's. An event holds no content, only the hash of the content and a random salt: who forgets content and
salt has erased it, and the chain still verifies.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from pipecatapp.ports import EventKind, Fact, KeptTurn, MemoryChange, MemoryEvent, MemoryItem

GENESIS = "0" * 64
"""`prev` of the first event."""
SALT_BYTES = 16
"""Random bytes hashed with a content, so that a short one cannot be guessed from its hash."""

Head = tuple[int, str]
"""Number and hash of the last event; (0, GENESIS) before the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What the verifier found.

    Args:
        events: How many events there are.
        items: How many facts and turns there are.
        head: Hash of the last event.
        broken_seq: Number of the first event at fault; 0 when all is well.
        fault: What is wrong with it, in words; "" when all is well.
    """

    events: int
    items: int
    head: str
    broken_seq: int = 0
    fault: str = ""

    @property
    def is_intact(self) -> bool:
        """Whether nothing was changed, left out or added."""
        return not self.fault


class Draft:
    """Changes that follow a head, each linked to the one before.

    Args:
        head: What they follow.
        at_s: When they happen (seconds since the epoch).
        request_id: Whose they are.
    """

    def __init__(self, head: Head, at_s: float, request_id: str) -> None:
        self._head = head
        self._at_s = round(at_s, 3)
        self._request_id = request_id
        self.changes: list[MemoryChange] = []

    def add(self, kind: EventKind, ref: str, content: Fact | KeptTurn | None = None) -> None:
        """Add an event; with `content`, one that brings a fact or turn."""
        salt = secrets.token_hex(SALT_BYTES) if content is not None else ""
        event = self._event(kind, ref, digest(salt, content) if content is not None else "")
        item = MemoryItem(salt, event.seq, event.seq, content) if content is not None else None
        self.changes.append(MemoryChange(event, item))

    def touch(self, item: MemoryItem) -> None:
        """Add the event that a fact was said again."""
        event = self._event("fact-said-again", ref_of(item.content), "")
        self.changes.append(MemoryChange(event, MemoryItem(item.salt, item.origin, event.seq, item.content)))

    def _event(self, kind: EventKind, ref: str, payload_sha256: str) -> MemoryEvent:
        seq, prev = self._head[0] + 1, self._head[1]
        value = event_hash(seq, self._at_s, kind, ref, self._request_id, payload_sha256, prev)
        event = MemoryEvent(
            seq=seq,
            at_s=self._at_s,
            kind=kind,
            ref=ref,
            request_id=self._request_id,
            payload_sha256=payload_sha256,
            prev=prev,
            hash=value,
        )
        self._head = (seq, value)
        return event


def ref_of(content: Fact | KeptTurn) -> str:
    """Return how events name a fact or turn."""
    if isinstance(content, Fact):
        return content.id
    return f"{quote(content.session_id, safe='')}/{content.turn.turn_id}"


def key_of(content: Fact | KeptTurn) -> tuple[str, str]:
    """Return what tells a fact or turn from all others."""
    return ("fact" if isinstance(content, Fact) else "turn", ref_of(content))


def digest(salt: str, content: Fact | KeptTurn) -> str:
    """Return the hash of a content with its salt."""
    if isinstance(content, Fact):
        parts: list[object] = ["fact", content.id, content.text, float(content.created_s), content.session_id]
    else:
        turn = content.turn
        parts = [
            "turn",
            content.session_id,
            turn.turn_id,
            turn.user_text,
            turn.assistant_text,
            bool(turn.interrupted),
            float(turn.created_s),
        ]
    return _sha256([salt, *parts])


def event_hash(
    seq: int, at_s: float, kind: str, ref: str, request_id: str, payload_sha256: str, prev: str
) -> str:
    """Return an event's hash."""
    return _sha256([seq, float(at_s), kind, ref, request_id, payload_sha256, prev])


def verify(events: Iterable[MemoryEvent], items: Sequence[MemoryItem]) -> AuditReport:
    """Return whether the events are one unbroken chain, and `items` what it says is kept."""
    live: dict[tuple[str, str], _Live] = {}
    seq, prev = 0, GENESIS
    for event in events:
        fault = _link_fault(event, seq, prev)
        if fault:
            return AuditReport(events=seq, items=len(items), head=prev, broken_seq=seq + 1, fault=fault)
        seq, prev = event.seq, event.hash
        _follow(live, event)
    broken_seq, fault = _content_fault(live, items)
    return AuditReport(events=seq, items=len(items), head=prev, broken_seq=broken_seq, fault=fault)


@dataclass(slots=True)
class _Live:
    origin: int
    said: int
    payload_sha256: str


def _link_fault(event: MemoryEvent, seq: int, prev: str) -> str:
    if event.seq != seq + 1:
        return f"event {seq + 1} is missing"
    if event.prev != prev:
        return f"event {event.seq} does not follow event {seq}"
    wanted = event_hash(
        event.seq, event.at_s, event.kind, event.ref, event.request_id, event.payload_sha256, event.prev
    )
    return "" if event.hash == wanted else f"event {event.seq} was changed"


def _follow(live: dict[tuple[str, str], _Live], event: MemoryEvent) -> None:
    if event.kind in ("fact-added", "turn-appended"):
        key = ("fact" if event.kind == "fact-added" else "turn", event.ref)
        live[key] = _Live(event.seq, event.seq, event.payload_sha256)
    elif event.kind == "fact-said-again" and ("fact", event.ref) in live:
        live["fact", event.ref].said = event.seq
    elif event.kind == "fact-deleted":
        live.pop(("fact", event.ref), None)
    elif event.kind in ("all-deleted", "state-imported"):
        live.clear()


def _content_fault(live: dict[tuple[str, str], _Live], items: Sequence[MemoryItem]) -> tuple[int, str]:
    """Return the first event that the content belies, and how; (0, "") when none."""
    faults: list[tuple[int, str]] = []
    left = dict(live)
    for item in items:
        key = key_of(item.content)
        known = left.pop(key, None)
        what = f"the {key[0]} '{key[1]}'"
        if known is None:
            faults.append((item.origin, f"{what} is kept, but no event says so"))
        elif (known.origin, known.said) != (item.origin, item.said):
            faults.append((known.origin, f"{what} is kept with other numbers than event {known.said} says"))
        elif known.payload_sha256 != digest(item.salt, item.content):
            faults.append((known.origin, f"{what} is not what event {known.origin} says"))
    for key, known in left.items():
        faults.append((known.origin, f"the {key[0]} '{key[1]}' of event {known.origin} is gone"))
    return min(faults, default=(0, ""))


def _sha256(parts: Sequence[object]) -> str:
    # ASCII only, so that any text that Python can hold has one spelling.
    text = json.dumps(list(parts), ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()
