"""Health, status, lists, and the local CA's certificate.

It owns the routes; each part says itself how it is.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from fastapi.responses import FileResponse, JSONResponse, Response

from pipecatapp.errors import AgentError
from pipecatapp.web.dependencies import Context

router = APIRouter(tags=["status"])


@router.get("/health")
async def health(context: Context) -> Response:
    """Say 200 only when every part has answered, else 503 and what is missing."""
    checks = context.checks()
    missing = [name for name, check in checks.items() if not check.ok]
    body: dict[str, Any] = {
        "status": "ok" if not missing else "starting",
        "checks": {name: asdict(check) for name, check in checks.items()},
    }
    if missing:
        body["error"] = {
            "code": "not-ready",
            "message": "; ".join(f"{name}: {checks[name].detail}" for name in missing),
            "hint": "Ask again in a few seconds; `twin doctor` says more.",
        }
    return JSONResponse(body, 200 if not missing else 503, headers={"Cache-Control": "no-store"})


@router.get("/api/status")
async def status(context: Context) -> dict[str, Any]:
    """Say what runs, in words and numbers."""
    return {
        **context.describe(),
        **context.service.status(),
        "calls": dict(context.calls.status()),
        "checks": {name: asdict(check) for name, check in context.checks().items()},
    }


@router.get("/api/sessions")
async def sessions(context: Context) -> dict[str, Any]:
    """List the conversations that are open in this process."""
    return {"sessions": context.service.sessions()}


@router.get("/api/tools")
async def tools(context: Context) -> dict[str, Any]:
    """List the tools with their schemas."""
    return {
        "tools": [
            {
                "name": spec.name,
                "description": spec.description,
                "parameters": spec.parameters,
                "needs_approval": spec.needs_approval,
            }
            for spec in context.toolbox.specs()
        ]
    }


@router.get("/api/experts")
async def experts(context: Context) -> dict[str, Any]:
    """List the experts of the house, where they are, and whether that is fresh."""
    return dict(context.experts())


@router.get("/ca.crt")
async def ca_certificate(context: Context) -> FileResponse:
    """Hand out the local CA's certificate, which a browser must trust for the microphone to work."""
    path = context.settings.data_dir / "tls" / "ca.crt"
    if not path.is_file():
        raise AgentError(
            "no-ca", "This Twin has no local CA.", hint="Start it with TWIN_TLS_PORT set.", status=404
        )
    return FileResponse(path, media_type="application/x-x509-ca-cert", filename="twin-ca.crt")
