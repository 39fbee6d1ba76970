"""Speak to Consul and Nomad over HTTP, with the standard library only.

It owns one request and what its failure means in words; which objects there should be is the modules'.
"""

from __future__ import annotations

import copy
import json
import ssl
import time
import urllib.error
import urllib.request
from typing import Any

TOKEN_HEADERS = {"consul": "X-Consul-Token", "nomad": "X-Nomad-Token"}
TIMEOUT_S = 20.0
POLL_S = 1.0


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
        context = ssl.create_default_context(cafile=ca) if ca else None
        # The agents are on this network; a proxy for the internet is not asked.
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if context is not None:
            handlers.append(urllib.request.HTTPSHandler(context=context))
        self._opener = urllib.request.build_opener(*handlers)

    def at(self, url: str) -> Api:
        """Return the same access to an agent that listens elsewhere."""
        other = copy.copy(self)
        other.url = url.rstrip("/")
        return other

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Return the status and the answer: its JSON, or its text where it is none.

        Raises:
            ApiError: Nobody answers.
        """
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=self._headers)
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as answer:
                return answer.status, _parsed(answer.read())
        except urllib.error.HTTPError as exc:
            return exc.code, _parsed(exc.read())
        except OSError as exc:
            raise ApiError(f"{self.system.capitalize()} at {self.url} does not answer: {exc}") from exc

    def get(self, path: str) -> Any:
        """Return the answer of a GET that must succeed.

        Raises:
            ApiError: It does not.
        """
        status, answer = self.call("GET", path)
        if status != 200:
            raise ApiError(f"{self.system.capitalize()} answers {status} to {path}: {answer}")
        return answer

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
        name = self.system.capitalize()
        raise ApiError(
            f"{name} has no leader after {timeout_s:.0f} s ({why}). Look at: journalctl -u {self.system}"
        )


def nodes_named(nomad: Api, name: str) -> list[dict[str, Any]]:
    """What Nomad knows of a machine: an older entry of that name may be left beside the one that is up.

    Raises:
        ApiError: Nomad does not answer.
    """
    return [node for node in nomad.get("/v1/nodes") if node["Name"] == name]


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", errors="replace").strip()
