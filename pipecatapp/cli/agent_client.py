"""HTTP client of a running agent, for commands.

It owns the HTTP client and how its errors are told; it is no command itself.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pipecatapp.environment import own_port
from pipecatapp.errors import AdapterError, AgentError

if TYPE_CHECKING:
    import httpx

ANSWER_TIMEOUT_S = 120.0
"""Longest wait for the next piece of an answer (seconds); an old desktop may need a while."""


def agent_url(url: str) -> str:
    """Return `url`, or this machine's own agent when it is "".

    Raises:
        ConfigError: TWIN_PORT is wrong.
    """
    return (url or f"http://127.0.0.1:{own_port()}").rstrip("/")


def get_json(url: str, path: str) -> Any:
    """Return what the agent at `url` ("" for this machine's) answers to a GET.

    httpx takes longer to import than the agent to answer, so this does without.

    Raises:
        AdapterError: Nothing answers there.
        AgentError: The agent answered with an error, or what is no JSON.
    """
    base = agent_url(url)
    parts = urlsplit(base)
    try:
        with closing(_connection(parts.scheme, parts.hostname or "", parts.port)) as connection:
            connection.request("GET", parts.path + path, headers={"Accept": "application/json"})
            reply = connection.getresponse()
            status, body = reply.status, reply.read().decode(errors="replace")
    except (OSError, ValueError, http.client.HTTPException) as exc:
        raise _unreachable(base, exc) from exc
    return _read(status, body)


@contextmanager
def client_for(url: str) -> Iterator[httpx.Client]:
    """Yield a client of the agent at `url` ("" for this machine's).

    Raises:
        AdapterError: Nothing answers there.
    """
    import httpx

    base = agent_url(url)
    # The house's own authority is not among the system's, and the agent is the user's own machine.
    with httpx.Client(base_url=base, timeout=ANSWER_TIMEOUT_S, verify=False, trust_env=False) as client:  # noqa: S501
        try:
            yield client
        except httpx.TransportError as exc:
            raise _unreachable(base, exc) from exc


def raise_for_reply(response: httpx.Response) -> None:
    """Raise what an error reply says.

    Raises:
        AgentError: The reply is not a success.
    """
    if not response.is_success:
        response.read()
        _read(response.status_code, response.text)


def _connection(scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    if scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=ANSWER_TIMEOUT_S)
    if scheme != "https":
        raise ValueError("its address begins with http:// or https://")
    # The house's own authority is not among the system's, and the agent is the user's own machine.
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port, timeout=ANSWER_TIMEOUT_S, context=trusting)


def _read(status: int, body: str) -> Any:
    """Return what the body of a success says, and raise what that of an error says."""
    try:
        said = json.loads(body)
        if 200 <= status < 300:
            return said
        error = said["error"]
        raise AgentError(error["code"], error["message"], hint=error.get("hint", ""))
    except (ValueError, KeyError, TypeError):
        raise AgentError("bad-reply", f"The agent answered {status}: {body[:200]}") from None


def _unreachable(base: str, cause: Exception) -> AdapterError:
    return AdapterError(
        "agent-unreachable",
        f"No agent answers at {base} ({cause}).",
        hint="Start it with `twin serve`, or say where it is with --url.",
    )
