"""Memory and saved states.

It owns the routes; what is remembered is the memory layer's.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from pipecatapp.ports import Fact
from pipecatapp.web.dependencies import Context

router = APIRouter(prefix="/api", tags=["memory"])


class StateName(BaseModel):
    """The name of a saved state."""

    model_config = ConfigDict(extra="forbid")
    name: str


@router.post("/state/save")
async def save(body: StateName, context: Context) -> dict[str, Any]:
    """Write the whole memory to one file."""
    return asdict(await context.service.save_state(body.name))


@router.post("/state/load")
async def load(body: StateName, context: Context) -> dict[str, Any]:
    """Replace the whole memory by a saved one; say how much it holds."""
    return {"name": body.name, **await context.service.load_state(body.name)}


@router.get("/state")
async def states(context: Context) -> dict[str, Any]:
    """List the saved states, newest first."""
    return {"states": [asdict(state) for state in await context.service.list_states()]}


@router.get("/memory")
async def memory(context: Context, q: str = "") -> dict[str, Any]:
    """List what is known, newest first, or what is nearest to `q`."""
    return {"facts": [_fact(fact) for fact in await context.service.search_memory(q)]}


@router.delete("/memory/{fact_id}")
async def forget(fact_id: str, context: Context) -> dict[str, Any]:
    """Forget one fact."""
    await context.service.delete_memory(fact_id)
    return {"deleted": 1}


@router.delete("/memory")
async def forget_all(context: Context) -> dict[str, Any]:
    """Forget everything."""
    return {"deleted": await context.service.delete_all_memory()}


def _fact(fact: Fact) -> dict[str, Any]:
    return {"id": fact.id, "text": fact.text, "created_s": fact.created_s, "score": round(fact.score, 3)}
