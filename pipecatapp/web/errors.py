"""How an error leaves the agent over HTTP.

It owns status codes and the body's shape; what went wrong is said by the error itself.
"""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from pipecatapp.errors import AgentError
from pipecatapp.gateway.openai_format import error_body

log = logging.getLogger(__name__)

RETRY_AFTER_S = 10
"""Seconds after which a busy caller is told to try again."""


def body_of(code: str, message: str, hint: str = "") -> dict[str, dict[str, str]]:
    """Return an error's body."""
    return {"error": {"code": code, "message": message, "hint": hint}}


def body_for(path: str, error: AgentError) -> dict[str, Any]:
    """Return an error's body in the form that callers of `path` expect: OpenAI's below `/v1`."""
    return error_body(error) if path.startswith("/v1/") else error.to_wire()


def install_error_handlers(app: FastAPI) -> None:
    """Make every error of `app` a body of one shape, never a stack trace."""

    @app.exception_handler(AgentError)
    async def agent_error(request: Request, exc: AgentError) -> JSONResponse:
        headers = {"Retry-After": str(RETRY_AFTER_S)} if exc.status == 503 else None
        return JSONResponse(body_for(request.url.path, exc), exc.status, headers=headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, exc: RequestValidationError) -> JSONResponse:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in item['loc'][1:]) or 'body'}: {item['msg']}"
            for item in exc.errors()
        )
        return JSONResponse(
            body_of("bad-request", problems, "See /openapi.json for what this call takes."), 422
        )

    @app.exception_handler(HTTPException)
    async def http_error(_request: Request, exc: HTTPException) -> JSONResponse:
        codes = {404: "not-found", 405: "method-not-allowed"}
        return JSONResponse(
            body_of(codes.get(exc.status_code, "http-error"), str(exc.detail)), exc.status_code
        )

    @app.exception_handler(Exception)
    async def fault(request: Request, exc: Exception) -> JSONResponse:
        log.error("A request failed", exc_info=exc, extra={"path": request.url.path})
        bug = AgentError("internal", "Something went wrong inside Twin.", hint="The log has the details.")
        return JSONResponse(body_for(request.url.path, bug), bug.status)
