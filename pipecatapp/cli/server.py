"""How commands reach a running agent.

It owns the HTTP client and how its errors are told; it is no command itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from pipecatapp.errors import AdapterError, AgentError
from pipecatapp.settings import load_settings

ANSWER_TIMEOUT_S = 120.0
"""Longest wait for the next piece of an answer (seconds); an old desktop may need a while."""


def agent_url(url: str) -> str:
    """Return `url`, or this machine's own agent when it is ""."""
    return (url or f"http://127.0.0.1:{load_settings().port}").rstrip("/")


@contextmanager
def client_for(url: str) -> Iterator[httpx.Client]:
    """Yield a client of the agent at `url` ("" for this machine's).

    Raises:
        AdapterError: Nothing answers there.
    """
    base = agent_url(url)
    # The house's own authority is not among the system's, and the agent is the user's own machine.
    with httpx.Client(base_url=base, timeout=ANSWER_TIMEOUT_S, verify=False, trust_env=False) as client:  # noqa: S501
        try:
            yield client
        except httpx.TransportError as exc:
            raise AdapterError(
                "agent-unreachable",
                f"No agent answers at {base} ({exc}).",
                hint="Start it with `twin serve`, or say where it is with --url.",
            ) from exc


def raise_for_reply(response: httpx.Response) -> None:
    """Raise what an error reply says.

    Raises:
        AgentError: The reply is not a success.
    """
    if response.is_success:
        return
    response.read()
    try:
        error = response.json()["error"]
        raise AgentError(error["code"], error["message"], hint=error.get("hint", ""))
    except (ValueError, KeyError, TypeError):
        raise AgentError(
            "bad-reply", f"The agent answered {response.status_code}: {response.text[:200]}"
        ) from None
