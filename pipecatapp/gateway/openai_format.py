"""OpenAI's format of errors, ids and server-sent events.

It owns OpenAI's shapes; what is said in them is said elsewhere.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

from pipecatapp.errors import AgentError, GatewayError

DONE = b"data: [DONE]\n\n"
"""How a stream says that it is whole."""
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    429: "rate_limit_error",
}


def error_body(error: AgentError) -> dict[str, Any]:
    """Return `{"error": {"message", "type", "param", "code"}}`, as OpenAI's clients expect it."""
    kind = _TYPES.get(error.status) or ("server_error" if error.status >= 500 else "invalid_request_error")
    message = f"{error.message} {error.hint}".strip()
    param = error.param if isinstance(error, GatewayError) else ""
    return {"error": {"message": message, "type": kind, "param": param or None, "code": error.code}}


def event(value: Mapping[str, Any]) -> bytes:
    """Return a server-sent event that carries `value`."""
    return b"data: " + json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


def new_id(prefix: str) -> str:
    """Return a name that nothing else has, such as `chatcmpl-...`."""
    return prefix + secrets.token_urlsafe(18)
