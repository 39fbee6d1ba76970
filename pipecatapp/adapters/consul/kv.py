"""Consul's key-value store, sessions and transactions, as the memory's replica uses them.

It owns those calls and what each failure means for a replica; the connection is `http`'s, and which keys
there are is `adapters/memory/consul_replica`'s.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from pipecatapp.adapters.consul.http import ConsulHttp
from pipecatapp.adapters.http.errors import HttpFault
from pipecatapp.errors import AdapterError
from pipecatapp.ports import REPLICA_FENCED, REPLICA_UNAVAILABLE

CONNECT_TIMEOUT_S = 1.0
"""Consul's agent is on this node and accepts within milliseconds (seconds)."""
ANSWER_TIMEOUT_S = 2.0
"""Longest wait for a small answer (seconds): an agent waits 2.5 for its write, and then lets it wait."""
BULK_TIMEOUT_S = 10.0
"""Longest wait for a full transaction, which an old disk may take a while to keep (seconds)."""
LIST_TIMEOUT_S = 60.0
"""Longest wait for a whole prefix (seconds)."""
MAX_OPERATIONS = 64
"""Operations of one transaction (developer.hashicorp.com/consul/api-docs/txn)."""
MAX_BYTES = 480_000
"""Size of one transaction's body; Consul's own bound is 512 KiB (`kv_max_value_size`)."""

Operation = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class KvEntry:
    """A key.

    Args:
        key: Its name.
        value: Its value.
        index: Number of its last change, for check-and-set.
        session: Session that has locked it, or "".
    """

    key: str
    value: bytes
    index: int
    session: str


class ConsulKv:
    """A connection to one Consul agent.

    Args:
        url: Such as http://127.0.0.1:8500.
        token: Returns the token to show, "" for none; asked for each request.
        ca: Certificate authority (PEM) of an https address; the system's when None.

    Every method raises AdapterError: `replica-away` when Consul does not answer, or not with success, and
    it is not known what became of the call.
    """

    def __init__(self, url: str, token: Callable[[], str], *, ca: Path | None = None) -> None:
        self._http = ConsulHttp(
            url, token, ca=ca, timeout_s=ANSWER_TIMEOUT_S, connect_timeout_s=CONNECT_TIMEOUT_S
        )
        self.url = self._http.url

    async def get(self, key: str) -> KvEntry | None:
        """Return a key as the leader has it now, or None."""
        reply = await self._send("GET", f"/kv/{quote(key)}", params={"consistent": ""}, also=(404,))
        return None if reply.status_code == httpx.codes.NOT_FOUND else _entries(reply)[0]

    async def below(self, prefix: str) -> list[KvEntry]:
        """Return the keys that begin with `prefix`, as the leader has them now, by name."""
        params = {"recurse": "", "consistent": ""}
        reply = await self._send(
            "GET", f"/kv/{quote(prefix)}", params=params, also=(404,), timeout_s=LIST_TIMEOUT_S
        )
        return [] if reply.status_code == httpx.codes.NOT_FOUND else _entries(reply)

    async def names(self, prefix: str, *, separator: str) -> list[str]:
        """Return the keys that begin with `prefix`, each up to and with the next `separator`."""
        params = {"keys": "", "separator": separator, "consistent": ""}
        reply = await self._send("GET", f"/kv/{quote(prefix)}", params=params, also=(404,))
        return [] if reply.status_code == httpx.codes.NOT_FOUND else [str(name) for name in reply.json()]

    async def lock(self, key: str, value: bytes, session: str) -> bool:
        """Take a lock; False when another session has it, or had it a moment ago."""
        reply = await self._send("PUT", f"/kv/{quote(key)}", params={"acquire": session}, content=value)
        return bool(reply.json())

    async def unlock(self, key: str, session: str) -> None:
        """Give a lock away."""
        await self._send("PUT", f"/kv/{quote(key)}", params={"release": session}, content=b"")

    async def transact(
        self, operations: Sequence[Operation], *, timeout_s: float = ANSWER_TIMEOUT_S
    ) -> list[KvEntry]:
        """Carry out all or none of some operations; return the keys that they wrote.

        Raises:
            AdapterError: Also `replica-fenced`, when a check among them failed and nothing was changed.
        """
        body = json.dumps(operations).encode()
        reply = await self._send("PUT", "/txn", content=body, also=(409,), timeout_s=timeout_s)
        if reply.status_code == httpx.codes.CONFLICT:
            raise AdapterError(
                REPLICA_FENCED,
                "Another instance of the memory service leads now.",
                hint="The agents find it by themselves.",
                retryable=True,
            )
        return [_entry(result["KV"]) for result in reply.json()["Results"] or () if "KV" in result]

    async def create_session(self, name: str, *, ttl_s: float, lock_delay_s: float) -> str:
        """Return a new session that ends when it is not renewed, or when this node is lost."""
        body = {"Name": name, "TTL": f"{ttl_s:g}s", "LockDelay": f"{lock_delay_s:g}s", "Behavior": "release"}
        reply = await self._send("PUT", "/session/create", content=json.dumps(body).encode())
        return str(reply.json()["ID"])

    async def renew_session(self, session: str) -> bool:
        """Keep a session alive; False when it is gone."""
        reply = await self._send("PUT", f"/session/renew/{session}", also=(404,))
        return reply.status_code == httpx.codes.OK

    async def destroy_session(self, session: str) -> None:
        """End a session and let go of its locks; one that is gone already is no error."""
        await self._send("PUT", f"/session/destroy/{session}")

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def _send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        also: Sequence[int] = (),
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> httpx.Response:
        reply = await self._http.send(
            method, path, params=params, content=content, timeout_s=timeout_s, error_of=self._no_answer
        )
        if reply.status_code == httpx.codes.OK or reply.status_code in also:
            return reply
        words = " ".join(reply.text.split())[:200] or "no reason given"
        if reply.status_code == httpx.codes.FORBIDDEN:
            raise self._away(f"refused the token ({words})", "Give the token the rights in docs/memory.md.")
        raise self._away(f"answered {reply.status_code} ({words})")

    def _no_answer(self, fault: HttpFault, reason: str) -> AdapterError:
        return self._away("does not answer" if fault.is_timeout else f"cannot be reached ({reason})")

    def _away(
        self, what: str, hint: str = "On a node of the cluster: systemctl status consul"
    ) -> AdapterError:
        return AdapterError(REPLICA_UNAVAILABLE, f"Consul at {self.url} {what}.", hint=hint, retryable=True)


def put(key: str, value: bytes) -> Operation:
    """Return the operation that sets a key."""
    return _operation("set", key, Value=base64.b64encode(value).decode())


def put_if(key: str, value: bytes, index: int) -> Operation:
    """Return the operation that sets a key if its last change was `index`; 0 if it is absent."""
    return _operation("cas", key, Value=base64.b64encode(value).decode(), Index=index)


def delete(key: str) -> Operation:
    """Return the operation that removes a key."""
    return _operation("delete", key)


def delete_below(prefix: str) -> Operation:
    """Return the operation that removes every key that begins with `prefix`."""
    return _operation("delete-tree", prefix)


def check_lock(key: str, session: str) -> Operation:
    """Return the operation that fails unless `session` has locked the key."""
    return _operation("check-session", key, Session=session)


def size_of(operation: Operation) -> int:
    """Return an operation's part of a transaction's size (bytes)."""
    return len(json.dumps(operation)) + 2


def _operation(verb: str, key: str, **more: Any) -> Operation:
    return {"KV": {"Verb": verb, "Key": key, **more}}


def _entries(reply: httpx.Response) -> list[KvEntry]:
    return [_entry(found) for found in reply.json()]


def _entry(found: Mapping[str, Any]) -> KvEntry:
    value = base64.b64decode(found.get("Value") or "")
    return KvEntry(found["Key"], value, found["ModifyIndex"], found.get("Session") or "")
