"""Calls: offers and candidates in SmallWebRTC's wire format.

It owns the wire format; calls are the voice layer's.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from pipecatapp.ports import CallOffer, IceCandidate
from pipecatapp.web.dependencies import Context

router = APIRouter(prefix="/api/offer", tags=["calls"])

BUSY_LINE = "I am busy with other calls. Please try again in a minute, or write to me."
"""What a refused caller hears."""
MAX_SDP_CHARS = 200_000
"""Longest session description; Chromium's are below 10,000 characters."""


class Offer(BaseModel):
    """A browser's wish to talk. Unknown keys are let pass, as other clients send their own."""

    sdp: str = Field(min_length=1, max_length=MAX_SDP_CHARS)
    type: str = Field(pattern="^offer$")
    pc_id: str | None = None
    restart_pc: bool | None = None
    request_data: dict[str, Any] | None = Field(
        None, validation_alias=AliasChoices("request_data", "requestData")
    )


class IceCandidateModel(BaseModel):
    """One address of the browser."""

    model_config = ConfigDict(extra="ignore")
    candidate: str = Field(max_length=2000)
    sdp_mid: str = Field("0", max_length=64)
    sdp_mline_index: int = Field(0, ge=0, le=64)


class IceCandidatesModel(BaseModel):
    """Addresses for a call."""

    pc_id: str
    candidates: list[IceCandidateModel] = Field(max_length=100)


@router.post("")
async def offer(body: Offer, context: Context) -> dict[str, str]:
    """Take or renew a call; the answer also names the session."""
    answer = await context.calls.offer(
        CallOffer(
            sdp=body.sdp,
            type=body.type,
            pc_id=body.pc_id or "",
            restart_pc=bool(body.restart_pc),
            session_id=str((body.request_data or {}).get("session_id") or ""),
        )
    )
    return {
        "sdp": answer.sdp,
        "type": answer.type,
        "pc_id": answer.pc_id,
        "session_id": answer.session_id,
    }


@router.get("/busy.wav")
async def busy(context: Context) -> Response:
    """Say that the line is busy, for the caller who was refused."""
    sound = await context.speak(BUSY_LINE)
    return Response(sound, media_type="audio/wav", headers={"Cache-Control": "max-age=3600"})


@router.patch("")
async def candidates(body: IceCandidatesModel, context: Context) -> dict[str, str]:
    """Add addresses to a call."""
    await context.calls.add_candidates(
        body.pc_id, [IceCandidate(c.candidate, c.sdp_mid, c.sdp_mline_index) for c in body.candidates]
    )
    return {"status": "success"}
