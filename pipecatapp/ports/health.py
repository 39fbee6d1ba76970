"""The result of a health check.

Not here: the probes (`app/health`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Whether one part of the agent has answered."""

    ok: bool
    detail: str
