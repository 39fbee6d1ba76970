"""Ranks the facts that a search found.

It owns two rules beyond similarity: of facts that say the same thing differently, the newest counts, and
near ties go to the newest. What is similar is the index's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipecatapp.ports import Fact

NEAR_TIE = 0.02
"""Difference of similarity (cosine) that means nothing: paraphrases of one question move it by more."""
SAME_SHAPE_TIE = 0.25
"""Difference of similarity within which facts of one shape contradict: a rare name moves it so far."""

_SHAPE = re.compile(
    r"(?P<head>(?:my|our|the|his|her|their) .{1,60}? (?:is|are|was|were)(?: called| named)?"
    r"|(?:i|we|my \w+|our \w+) (?:live|lives|work|works|study|studies) (?:in|at|as|for)"
    r"|(?:i|we) (?:am|are) (?:called|named|from))"
    r" .+",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class ScoredFact:
    """A fact that a search found. `said`: larger is newer; `fact.score` is its similarity."""

    fact: Fact
    said: int


def normalise(text: str) -> str:
    """Return `text` without letter case, extra spaces and marks at its end: what two spellings share."""
    return " ".join(text.casefold().split()).rstrip(".!?,; ")


def subject_template(text: str) -> str:
    """Return the part of a fact that a newer one would repeat ("my dog is called"), or ""."""
    match = _SHAPE.fullmatch(normalise(text))
    return match.group("head") if match else ""


def rank(scored_facts: Sequence[ScoredFact], limit: int) -> list[Fact]:
    """Return the best facts, best first.

    Args:
        scored_facts: What the search found, in any order.
        limit: Most facts to return.
    """
    left = sorted(scored_facts, key=lambda item: -item.fact.score)
    ranked: list[ScoredFact] = []
    while left:
        leader = left[0]
        peers = [item for item in left if _is_peer(leader.fact, item.fact)]
        left = [item for item in left if item not in peers]
        ranked += sorted(peers, key=lambda item: -item.said)
    return [item.fact for item in ranked[: max(0, limit)]]


def _is_peer(leader: Fact, other: Fact) -> bool:
    distance = leader.score - other.score
    if distance <= NEAR_TIE:
        return True
    shape = subject_template(leader.text)
    return distance <= SAME_SHAPE_TIE and shape != "" and shape == subject_template(other.text)
