"""Memory and saved states.

It owns the routes; what is remembered is the memory layer's.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from pipecatapp.ports import Fact
from pipecatapp.web.dependencies import AgentParts

router = APIRouter(prefix="/api", tags=["memory"])


class StateName(BaseModel):
    """The name of a saved state."""

    model_config = ConfigDict(extra="forbid")
    name: str


@router.post("/state/save")
async def save(body: StateName, parts: AgentParts) -> dict[str, Any]:
    """Write the whole memory to one file."""
    return asdict(await parts.service.save_state(body.name))


@router.post("/state/load")
async def load(body: StateName, parts: AgentParts) -> dict[str, Any]:
    """Replace the whole memory by a saved one; say how much it holds."""
    return {"name": body.name, **await parts.service.load_state(body.name)}


@router.get("/state")
async def states(parts: AgentParts) -> dict[str, Any]:
    """List the saved states, newest first."""
    return {"states": [asdict(state) for state in await parts.service.list_states()]}


@router.get("/memory")
async def memory(parts: AgentParts, q: str = "") -> dict[str, Any]:
    """List what is known, newest first, or what is nearest to `q`."""
    return {"facts": [_fact(fact) for fact in await parts.service.search_memory(q)]}


@router.delete("/memory/{fact_id}")
async def forget(fact_id: str, parts: AgentParts) -> dict[str, Any]:
    """Forget one fact."""
    await parts.service.delete_memory(fact_id)
    return {"deleted": 1}


@router.delete("/memory")
async def forget_all(parts: AgentParts) -> dict[str, Any]:
    """Forget everything."""
    return {"deleted": await parts.service.delete_all_memory()}


def _fact(fact: Fact) -> dict[str, Any]:
    return {"id": fact.id, "text": fact.text, "created_s": fact.created_s, "score": round(fact.score, 3)}
