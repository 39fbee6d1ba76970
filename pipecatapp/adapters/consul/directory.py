"""The cluster's service directory, followed in Consul by blocking queries.

It owns which queries run, when they are asked again, and what an answer means for the snapshot. The wire is
`http`'s. The rules for indexes are those of developer.hashicorp.com/consul/api-docs/features/blocking.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

from pipecatapp.adapters.consul.http import ConsulHttp, ConsulReply
from pipecatapp.adapters.discovery.snapshot import SnapshotDirectory
from pipecatapp.backoff import backoff_s
from pipecatapp.errors import AdapterError
from pipecatapp.ports import Clock, Endpoint

log = logging.getLogger(__name__)

WAIT_S = 30.0
"""How long Consul holds a query (seconds); one that hangs is noticed after this and an answer's time-out."""
FIRST_ANSWER_S = 5.0
"""Longest wait at the start for what Consul knows (seconds); without it the directory starts empty."""
LEAST_GAP_S = 0.1
"""Shortest time between two answers of one query (seconds), so that a flapping service costs little."""
FIRST_RETRY_S = 0.5
"""Longest pause after a first failure (seconds); each further one doubles it."""
LAST_RETRY_S = 10.0
"""Longest pause between two tries (seconds)."""

Apply = Callable[[ConsulReply], bool]
"""Takes an answer in; False when nobody need ask again."""


def next_index(before: int, now: int) -> int:
    """Return the index to ask with next.

    An index that went backwards (Consul's data was restored or lost) starts anew at 0; one below 1 would
    never hold the query.
    """
    return 0 if now < before else max(now, 1)


def retry_pause_s(failures: int, chance: float) -> float:
    """Return the pause before the next try (seconds).

    Args:
        failures: How many tries in a row failed, from 1.
        chance: From 0 to 1; spreads those who all lost the same Consul.
    """
    return backoff_s(failures, first_s=FIRST_RETRY_S, last_s=LAST_RETRY_S, chance=chance)


def endpoints_of(service: str, value: Any) -> list[Endpoint]:
    """Return the instances in an answer to /health/service.

    Raises:
        AdapterError: It has another shape.
    """
    try:
        return [
            Endpoint(
                service=service,
                id=f"{entry['Node']['Node']}/{entry['Service']['ID']}",
                node=entry["Node"]["Node"],
                address=entry["Service"]["Address"] or entry["Node"]["Address"],
                port=int(entry["Service"]["Port"]),
                tags=tuple(entry["Service"]["Tags"] or ()),
                passing=all(check["Status"] == "passing" for check in entry["Checks"]),
                meta={str(key): str(value) for key, value in (entry["Service"].get("Meta") or {}).items()},
            )
            for entry in value
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise AdapterError("consul-nonsense", "Consul described a service in an unknown shape.") from exc


class ConsulDirectory(SnapshotDirectory):
    """Services as Consul knows them; `open` one, it cannot be started otherwise.

    Args:
        http: The connection; closed with this.
        clock: Time.
        prefixes: Follow every service whose name begins so.
        services: Follow these services, registered or not.
        wait_s: How long Consul holds a query (seconds, 1 to 600).
    """

    def __init__(
        self,
        http: ConsulHttp,
        clock: Clock,
        *,
        prefixes: Sequence[str] = (),
        services: Iterable[str] = (),
        wait_s: float = WAIT_S,
    ) -> None:
        self._http = http
        super().__init__(clock)
        self._prefixes = tuple(prefixes)
        self._fixed = frozenset(services)
        self._wait_s = wait_s
        self._listed: frozenset[str] = frozenset()
        self._followers: dict[str, asyncio.Task[None]] = {}
        self._failing: set[str] = set()
        self._unheard: set[str] = set()
        self._is_settled = asyncio.Event()

    @classmethod
    async def open(
        cls,
        http: ConsulHttp,
        clock: Clock,
        *,
        prefixes: Sequence[str] = (),
        services: Iterable[str] = (),
        wait_s: float = WAIT_S,
        first_answer_s: float = FIRST_ANSWER_S,
    ) -> Self:
        """Return a directory that follows Consul, with what is known within `first_answer_s` seconds.

        A Consul that does not answer is no error: the directory is empty and stale until it does.
        """
        directory = cls(http, clock, prefixes=prefixes, services=services, wait_s=wait_s)
        directory._start()
        try:
            async with asyncio.timeout(first_answer_s):
                await directory._is_settled.wait()
        except TimeoutError:
            log.warning("Consul has not answered yet; going on without it", extra={"url": http.url})
            directory._snapshot.mark_stale(f"Consul at {http.url} has not answered yet.")
        except BaseException:
            await directory.close()
            raise
        return directory

    @property
    def name(self) -> str:
        """Which Consul."""
        return f"Consul at {self._http.url}"

    async def close(self) -> None:
        """Stop following and close the connection."""
        tasks = list(self._followers.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._http.close()

    def _start(self) -> None:
        for service in sorted(self._fixed):
            self._follow_service(service)
        if self._prefixes:
            self._follow("", "/catalog/services", self._take_list)

    def _follow_service(self, service: str) -> None:
        def take(reply: ConsulReply) -> bool:
            return self._take_service(service, reply)

        if service not in self._followers:
            self._follow(service, f"/health/service/{service}", take)

    def _follow(self, key: str, path: str, apply: Apply) -> None:
        self._unheard.add(key)
        task = asyncio.create_task(self._run(key, path, apply), name=f"consul {path}")
        task.add_done_callback(_report)
        self._followers[key] = task

    async def _run(self, key: str, path: str, apply: Apply) -> None:
        """Ask again and again; every answer after the first is held by Consul until something changed."""
        index, failures = 0, 0
        while True:
            try:
                reply = await self._http.get(path, index=index, wait_s=self._wait_s)
                goes_on = apply(reply)
            except AdapterError as exc:
                # The next answer is not to be held: it tells at once that Consul is back.
                index, failures = 0, failures + 1
                self._lose(key, exc)
                await asyncio.sleep(retry_pause_s(failures, random.random()))  # noqa: S311 - spreads load
                continue
            failures = 0
            self._find(key)
            if not goes_on:
                del self._followers[key]
                return
            index = next_index(index, reply.index)
            await asyncio.sleep(LEAST_GAP_S)

    def _take_list(self, reply: ConsulReply) -> bool:
        """Follow the services that are new. Those that are gone say so themselves, to their own query."""
        if not isinstance(reply.value, dict):
            raise AdapterError("consul-nonsense", "Consul listed its services in an unknown shape.")
        if not reply.value and not reply.is_filtered:
            # Consul lists itself; it hides that, without a word, from who shows no token.
            raise AdapterError(
                "consul-refused",
                f"Consul at {self._http.url} shows nothing without a token.",
                hint="Set CONSUL_HTTP_TOKEN or CONSUL_HTTP_TOKEN_FILE.",
            )
        self._listed = frozenset(name for name in reply.value if name.startswith(self._prefixes))
        for service in sorted(self._listed):
            self._follow_service(service)
        return True

    def _take_service(self, service: str, reply: ConsulReply) -> bool:
        if not reply.value and reply.is_filtered:
            raise AdapterError(
                "consul-refused",
                f"The token for Consul may not see the service {service}.",
                hint="Its policy needs service:read for it, and node:read.",
            )
        self._snapshot.put(service, endpoints_of(service, reply.value))
        return bool(reply.value) or service in self._fixed or service in self._listed

    def _lose(self, key: str, error: AdapterError) -> None:
        if not self._failing:
            log.warning(
                "Consul does not answer; going on with what it said last",
                extra={"code": error.code, "reason": error.message, "services": len(self.services())},
            )
        self._failing.add(key)
        self._snapshot.mark_stale(error.message)
        self._settle(key)

    def _find(self, key: str) -> None:
        self._failing.discard(key)
        self._settle(key)
        if self._failing or self._unheard:
            return
        if self.state().is_stale:
            log.info("Consul answers again", extra={"silent_s": round(self.state().age_s, 1)})
        self._snapshot.mark_fresh()

    def _settle(self, key: str) -> None:
        """Tell the start once each query was answered, or failed, for the first time."""
        self._unheard.discard(key)
        if not self._unheard:
            self._is_settled.set()


def _report(task: asyncio.Task[None]) -> None:
    """Tell of a follower that ended by a fault of ours."""
    if not task.cancelled() and (fault := task.exception()) is not None:
        log.error("A follower of Consul ended", exc_info=fault)
