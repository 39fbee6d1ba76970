"""HTTP client of Consul and Nomad, with Python's own library, and the arguments of the modules that use it.

Not here: which objects there should be; that is the modules'. No request goes through a proxy, whatever
`http_proxy` and its like say: the agents are on this network, and a proxy would be shown their tokens.
"""

from __future__ import annotations

import copy
import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

TOKEN_HEADERS = {"consul": "X-Consul-Token", "nomad": "X-Nomad-Token"}
TIMEOUT_S = 20.0
"""Longest wait for one answer (seconds)."""
ELECTION_S = 30.0
"""How long an election or a restart of an agent is waited for (seconds); one takes a few."""
POLL_S = 1.0
"""Seconds between two looks at something that is waited for."""

_URL = {"type": "str", "required": True}
_TOKEN = {"type": "str", "required": True, "no_log": True}
_CA = {"type": "str", "default": ""}
CA_ARGUMENT: dict[str, Any] = {"ca": _CA}
"""File of the authority that signed the agents' certificates; "" for plain HTTP."""
ONE_SYSTEM: dict[str, Any] = {"url": _URL, "token": _TOKEN}
"""Arguments of a module that asks one agent: where it listens, and the token that is shown."""
BOTH_SYSTEMS: dict[str, Any] = {
    "consul_url": _URL,
    "consul_token": _TOKEN,
    "nomad_url": _URL,
    "nomad_token": _TOKEN,
    **CA_ARGUMENT,
}
"""The same of a module that asks Consul and Nomad."""


class ApiError(Exception):
    """A request that cannot be answered, as a sentence."""


class Api:
    """One agent of Consul or Nomad.

    Args:
        system: `consul` or `nomad`.
        url: Where it listens.
        token: What proves who asks; "" asks as nobody.
        ca: File with the authority that signed its certificate; "" for plain HTTP.
    """

    def __init__(self, system: str, url: str, token: str = "", ca: str = "") -> None:
        self.system = system
        self.url = url.rstrip("/")
        self._headers = {TOKEN_HEADERS[system]: token} if token else {}
        self._context = ssl.create_default_context(cafile=ca) if ca else None

    @property
    def name(self) -> str:
        """The system's name for a person."""
        return self.system.capitalize()

    def at(self, url: str) -> Api:
        """Return the same access to an agent that listens elsewhere."""
        other = copy.copy(self)
        other.url = url.rstrip("/")
        return other

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Return the status and the answer: its JSON, or its text where it is none. It is asked once.

        Raises:
            ApiError: Nobody answers.
        """
        status, answer = self._send(method, path, body)
        return status, parsed(answer)

    def get(self, path: str) -> Any:
        """Return the answer of a GET that must succeed. It is asked once.

        Raises:
            ApiError: It does not.
        """
        status, answer = self.call("GET", path)
        if status != 200:
            raise ApiError(f"{self.name} answers {status} to {path}: {answer}")
        return answer

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Return the answer; an election or a restart of the agent is waited for.

        Raises:
            ApiError: It is refused, nothing is at `path`, or nobody answers.
        """
        answer = self._persist(method, path, body)
        if answer is None:
            raise ApiError(f"{self.name} knows no {path}.")
        return parsed(answer)

    def find(self, path: str) -> Any:
        """Return what is at `path`, or None when nothing is; an election is waited for.

        Raises:
            ApiError: It is refused, or nobody answers.
        """
        answer = self._persist("GET", path, None)
        return None if answer is None else parsed(answer)

    def text(self, path: str) -> str:
        """Return what is at `path` as it is, "" when nothing is; an election is waited for.

        Raises:
            ApiError: It is refused, or nobody answers.
        """
        return (self._persist("GET", path, None) or b"").decode(errors="replace")

    def wait_for_leader(self, timeout_s: float) -> str:
        """Wait until the servers have a leader; return its address.

        Raises:
            ApiError: They have none in time.
        """
        deadline_s = time.monotonic() + timeout_s
        why = "no leader is elected"
        while time.monotonic() < deadline_s:
            try:
                status, leader = self.call("GET", "/v1/status/leader")
            except ApiError as exc:
                why = str(exc)
            else:
                if status == 200 and leader:
                    return str(leader)
                why = "no leader is elected" if status == 200 else f"it answers {status}: {leader}"
            time.sleep(POLL_S)
        raise ApiError(
            f"{self.name} has no leader after {timeout_s:.0f} s ({why}). Look at: journalctl -u {self.system}"
        )

    def _send(self, method: str, path: str, body: Any) -> tuple[int, bytes]:
        try:
            return send(self.url + path, method, self._headers, body, context=self._context)
        except OSError as exc:
            reason = getattr(exc, "reason", exc)
            raise ApiError(f"{self.name} at {self.url} does not answer: {reason}") from exc

    def _persist(self, method: str, path: str, body: Any) -> bytes | None:
        """Return the answer's bytes, None when there is nothing at `path`."""
        deadline_s = time.monotonic() + ELECTION_S
        while True:
            is_late = time.monotonic() > deadline_s
            try:
                status, answer = self._send(method, path, body)
            except ApiError as exc:
                if is_late:
                    raise ApiError(f"{exc}. Look at: journalctl -u {self.system}") from exc
            else:
                if status < 300:
                    return answer
                if status == 404:
                    return None
                told = answer.decode(errors="replace").strip()
                if status < 500 or "leader" not in told or is_late:
                    raise ApiError(f"{self.name} refused {method} {path}: {told or status}")
            time.sleep(POLL_S)


def send(
    url: str,
    method: str,
    headers: Mapping[str, str],
    body: Any = None,
    *,
    context: ssl.SSLContext | None = None,
    timeout_s: float = TIMEOUT_S,
) -> tuple[int, bytes]:
    """Send a request straight to a machine of this network; return the status and the answer's bytes.

    Args:
        url: What is asked for.
        method: HTTP's method.
        headers: Beside that of the type.
        body: It is sent as JSON; None for none.
        context: Whose certificates count; None for those of the system.
        timeout_s: Longest wait for the answer (seconds).

    Raises:
        OSError: Nobody answers.
    """
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        url, data, {"Content-Type": "application/json", **headers}, method=method
    )
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if context is not None:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=timeout_s) as answer:
            return answer.status, bytes(answer.read())
    except urllib.error.HTTPError as exc:
        return exc.code, bytes(exc.read())
    except http.client.HTTPException as exc:
        raise ConnectionError(f"its answer is no HTTP: {exc!r}") from exc


def parsed(answer: bytes) -> Any:
    """Return the JSON of an answer, its text where it is none, None when it is empty."""
    if not answer:
        return None
    try:
        return json.loads(answer)
    except ValueError:
        return answer.decode("utf-8", errors="replace").strip()


def nodes_named(nomad: Api, name: str) -> list[dict[str, Any]]:
    """What Nomad knows of a machine: an older entry of that name may be left beside the one that is up.

    Raises:
        ApiError: Nomad does not answer.
    """
    return [node for node in nomad.get("/v1/nodes") if node["Name"] == name]


def takes_jobs(node: dict[str, Any]) -> bool:
    """Whether a node, as Nomad lists it, is given jobs."""
    return bool(node["Status"] == "ready" and node["SchedulingEligibility"] == "eligible")
