"""One chat request to an expert, with hedging and failover in the middle of a stream.

It owns the order in which backends are asked, the times, and that the pieces of several models are one
reply. Not here: where a request may stand (`hedging`), the state of each backend (`backend_pool`), and how a
server is asked to continue a partial reply (`adapters/llm/continuation`).
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from typing import cast

from pipecatapp.errors import AdapterError
from pipecatapp.experts.backend_pool import Backend, BackendPool, answer_of
from pipecatapp.experts.hedging import Event, State, after, due
from pipecatapp.experts.service_names import service_of
from pipecatapp.ports import MAIN_EXPERT, ChatDelta, ChatRequest, Clock, LlmClient, Message

log = logging.getLogger(__name__)

INVALID_REQUEST = "llm-request"
"""Error code of an invalid request; never retried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgingPolicy:
    """How long a request waits for what (all in seconds, > 0).

    A request that names its deadline says how long its caller waits: `cluster_timeout_s` is then
    `cluster_share` of it, and `other_model_s` changes in proportion.

    Args:
        total_s: For a whole answer of no length, from asking to its last piece: its prompt, and spare.
        token_s: For each token of its bound besides: two a second is the slowest that anybody listens to.
        cluster_timeout_s: For the first token of the cluster's backends together, the local model being a
            fallback. A long prompt takes an old desktop half of it, and a workflow's `llm` node waits 30.
        cluster_share: The part of a deadline that is theirs.
        first_hedge_s: For the first word before a second instance is asked, until enough was seen of the
            first words of that expert; from then on, the time in which 95 of 100 began.
        min_hedge_s: Shortest such time: less is the network's jitter, and costs an instance for nothing.
        max_hedge_s: Longest such time.
        other_model_s: Shortest such time when only another model is left to be asked: it answers less well.
        stall_s: For the next word of an answer that has begun, while there is somebody to go on. A
            neighbour's prompt may hold a server up: a batch of it
            (`adapters.llm.server_process.BATCH_TOKENS`), 512 tokens, takes an old desktop 8.
    """

    total_s: float = 60.0
    token_s: float = 0.5
    cluster_timeout_s: float = 20.0
    cluster_share: float = 0.6
    first_hedge_s: float = 2.0
    min_hedge_s: float = 0.5
    max_hedge_s: float = 5.0
    other_model_s: float = 6.0
    stall_s: float = 10.0

    def scaled_to(self, request: ChatRequest) -> HedgingPolicy:
        """Return the policy for one request; `total_s` is then its whole time."""
        if not request.deadline_s:
            return replace(self, total_s=self.total_s + self.token_s * request.max_tokens)
        cluster_timeout_s = self.cluster_share * request.deadline_s
        other_model_s = self.other_model_s * cluster_timeout_s / self.cluster_timeout_s
        return replace(
            self,
            total_s=request.deadline_s,
            cluster_timeout_s=cluster_timeout_s,
            other_model_s=other_model_s,
        )

    def hedge_after_s(self, seen_s: float | None, *, is_other_model: bool) -> float:
        """Return how long one that is asked has until a second is asked too.

        Args:
            seen_s: The time in which 95 of 100 of its service began; None until enough was seen.
            is_other_model: Whether the second would be another model.
        """
        after_s = min(
            max(self.first_hedge_s if seen_s is None else seen_s, self.min_hedge_s), self.max_hedge_s
        )
        return max(after_s, self.other_model_s) if is_other_model else after_s


class Attempt:
    """One model that is asked: its answer, and its first piece as a task.

    Args:
        client: Who is asked.
        request: What is asked.
        now_s: Time.
        service: The service that it belongs to; "" for this machine's own model.
        backend: The instance; None for this machine's own model.
    """

    def __init__(
        self,
        client: LlmClient,
        request: ChatRequest,
        now_s: float,
        service: str = "",
        backend: Backend | None = None,
    ) -> None:
        self.source = client.name
        self.service = service
        self.backend = backend
        self.began_s = now_s
        self.deltas = answer_of(client, request)
        self.first = asyncio.create_task(self._first(), name=f"first word of {self.source}")
        if backend is not None:
            backend.on_request()

    async def _first(self) -> ChatDelta:
        async for delta in self.deltas:
            return delta
        raise AdapterError("llm-broke-off", f"{self.source} ended its answer before it began", retryable=True)

    async def stop(self) -> None:
        """Close the answer, which ends the work at the other side."""
        if self.backend is not None:
            self.backend.on_done()
        self.first.cancel()
        await asyncio.wait({self.first})
        if not self.first.cancelled():
            self.first.exception()
        await self.deltas.aclose()


class HedgedRequest:
    """One hedged request.

    Args:
        request: What is asked.
        services: Whose instances are asked, one service after the other; the first is the expert's own.
        backends: What there is.
        own: This machine's own model, asked after them; None for none.
        clock: Time.
        policy: How long it waits for what.
    """

    def __init__(
        self,
        request: ChatRequest,
        services: Sequence[str],
        backends: BackendPool,
        own: LlmClient | None,
        clock: Clock,
        policy: HedgingPolicy,
    ) -> None:
        self._request = request
        self._services = services
        self._backends = backends
        self._own = own
        self._clock = clock
        self._policy = policy.scaled_to(request)
        self._tried_urls: set[str] = set()
        self._slow: list[tuple[str, Backend]] = []
        self._is_own_tried = False
        self._failure: AdapterError | None = None
        self._fallback = ""
        self._said = ""
        self._tokens = 0
        self._is_continuing = False
        self._at = State.IDLE
        self._heard_s = clock.monotonic_s()
        self._ends_s = self._heard_s + self._policy.total_s

    async def answer(self) -> AsyncGenerator[ChatDelta, None]:
        """Yield one answer, whoever gives its parts.

        Raises:
            AdapterError: Nobody is left who could answer or go on, or it took too long; `no-expert` when
                there was nobody from the beginning.
        """
        await self._backends.prune()
        while True:
            winner = await self._begin()
            if self._fallback:
                log.info("Another model answers", extra={"by": winner.source, "goes_on": bool(self._said)})
            stall_s = self._policy.stall_s if self._has_fallback() else math.inf
            said_before, self._is_continuing = self._tokens, bool(self._said)
            try:
                delta: ChatDelta | None = winner.first.result()
                while delta is not None:
                    text = self._joined(delta.text)
                    if text or delta.finish:
                        yield replace(
                            delta,
                            text=text,
                            completion_tokens=delta.completion_tokens + said_before if delta.finish else 0,
                            source=winner.source,
                            fallback_reason=self._fallback,
                        )
                    self._heard_s = self._clock.monotonic_s()
                    delta = await self._next_piece(winner, stall_s)
                self._on(Event.FINISHED)
                return
            except AdapterError as exc:
                self._note(winner, exc)
                self._on(Event.BROKE_OFF)
            finally:
                await winner.stop()
            if self._tokens >= self._request.max_tokens:
                self._on(Event.FINISHED)
                yield ChatDelta(
                    text="",
                    finish="length",
                    completion_tokens=self._tokens,
                    source=winner.source,
                    fallback_reason=self._fallback,
                )
                return

    def _on(self, event: Event) -> None:
        self._at = after(self._at, event)

    def _joined(self, text: str) -> str:
        """Note a piece and return it; what goes on brings no second space."""
        if self._said and self._said[-1].isspace() and self._is_continuing:
            text = text.lstrip()
        self._is_continuing = self._is_continuing and not text
        self._said += text
        self._tokens += bool(text)
        return text

    async def _next_piece(self, winner: Attempt, stall_s: float) -> ChatDelta | None:
        try:
            async with asyncio.timeout(min(stall_s, self._left_s())):
                return await anext(winner.deltas, None)
        except TimeoutError as exc:
            raise _silence(f"{winner.source} fell silent in the middle of its answer") from exc

    async def _begin(self) -> Attempt:
        """Return the first of those asked who speaks; the others are stopped."""
        cluster_ends_s = self._heard_s + self._policy.cluster_timeout_s
        running: list[Attempt] = []
        try:
            while True:
                if self._at is State.IDLE:
                    running.append(self._ask_next(cluster_ends_s))
                hedge_s = self._hedge_s(running, cluster_ends_s)
                # The cluster's backends have their time; what is over it is the local model's.
                is_last = self._own is None or self._is_own_tried
                limit_s = self._ends_s if is_last else min(cluster_ends_s, self._ends_s)
                wait_s = max(0.0, min(limit_s, hedge_s) - self._clock.monotonic_s())
                await asyncio.wait(
                    [attempt.first for attempt in running],
                    timeout=wait_s,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if winner := await self._winner_of(running):
                    return winner
                event = due(self._at, now_s=self._clock.monotonic_s(), hedge_s=hedge_s, limit_s=limit_s)
                if event is Event.EXPIRED:
                    self._on(event)
                    for attempt in [*running]:
                        running.remove(attempt)
                        await attempt.stop()
                        self._note(attempt, _silence(f"{attempt.source} did not begin to answer"))
                elif event is Event.SENT:
                    log.info("An expert is slow; another is asked too", extra={"slow": running[0].source})
                    running.append(self._ask_next(cluster_ends_s))
        finally:
            for attempt in running:
                await attempt.stop()

    async def _winner_of(self, running: list[Attempt]) -> Attempt | None:
        """Take out of `running` who spoke, and return the first of them, and who failed."""
        for attempt in [attempt for attempt in running if attempt.first.done()]:
            failure = attempt.first.exception()
            if failure is not None and not isinstance(failure, AdapterError):
                raise failure
            running.remove(attempt)
            if failure is not None:
                self._on(Event.FAILED)
                await attempt.stop()
                self._note(attempt, failure)
                continue
            self._on(Event.FIRST_TOKEN)
            now_s = self._clock.monotonic_s()
            if attempt.backend is not None:
                attempt.backend.on_first_token()
                self._backends.record_ttft(attempt.service, now_s - attempt.began_s)
            for other in running:
                self._lost(other, attempt, now_s)
            return attempt
        return None

    def _lost(self, loser: Attempt, winner: Attempt, now_s: float) -> None:
        """Note who did not speak first; it may still have to go on."""
        if loser.backend is None:
            self._is_own_tried = False
            return
        self._slow.append((loser.service, loser.backend))
        if loser.began_s < winner.began_s:
            loser.backend.breaker.on_lost_hedge()
            self._fallback = f"{loser.source} was silent for {now_s - loser.began_s:.1f} s"

    def _hedge_s(self, running: Sequence[Attempt], cluster_ends_s: float) -> float:
        """Return when a second one is asked too; never while two are asked, or when nobody is left."""
        candidates = self._candidates(cluster_ends_s)
        if self._at is State.HEDGED or not candidates:
            return math.inf
        first = running[0]
        is_other_model = candidates[0][0] != first.service
        return first.began_s + self._policy.hedge_after_s(
            self._backends.ttft_p95_s(first.service), is_other_model=is_other_model
        )

    def _candidates(self, cluster_ends_s: float) -> list[tuple[str, Backend | None]]:
        """Return who is left, best first: a service and its instance, "" and None for our own model.

        After our own model come those who were slow in this call, and those that failed lately: a machine
        that is gone costs three seconds.
        """
        fresh = [
            (service, backend)
            for service in self._services
            for backend in self._backends.candidates(service, self._request.session)
            if backend.endpoint.base_url not in self._tried_urls
        ]
        failing = [
            (service, backend)
            for service in self._services
            for backend in self._backends.tripped(service)
            if backend.endpoint.base_url not in self._tried_urls
        ]
        last = [*self._slow, *failing]
        if self._own is None or self._is_own_tried:
            return [*fresh, *last]
        if self._clock.monotonic_s() >= cluster_ends_s:
            return [("", None), *fresh, *last]
        return [*fresh, ("", None), *last]

    def _has_fallback(self) -> bool:
        """Whether somebody who did not fail lately is left to go on."""
        candidates = self._candidates(math.inf)
        return any(backend is None or backend.breaker.allows_request for _, backend in candidates)

    def _ask_next(self, cluster_ends_s: float) -> Attempt:
        candidates = self._candidates(cluster_ends_s)
        if self._failure is not None and (not candidates or self._left_s() <= 0):
            self._on(Event.EXHAUSTED)
            raise self._failure
        if not candidates:
            self._on(Event.EXHAUSTED)
            raise AdapterError(
                "no-expert",
                f"{self._backends.directory.name} knows no {' and no '.join(self._services)}, "
                "and this machine has no language model.",
                hint="Start an expert, or set LLM_BASE_URL.",
                retryable=True,
            )
        service, backend = candidates[0]
        if not self._fallback and service != next(iter(self._services), ""):
            self._fallback = self._fallback_reason()
        now_s, request = self._clock.monotonic_s(), self._continuation_request()
        self._on(Event.SENT)
        if backend is None:
            self._is_own_tried = True
            return Attempt(cast(LlmClient, self._own), request, now_s)
        self._tried_urls.add(backend.endpoint.base_url)
        self._slow = [slow for slow in self._slow if slow[1] is not backend]
        # Prompt caches are numbered by one client; the experts of the house have many.
        return Attempt(backend.client, replace(request, slot=-1), now_s, service, backend)

    def _fallback_reason(self) -> str:
        """Return why another than the expert is asked first; "" for a house whose `main` is our own model."""
        expert = self._services[0]
        if expert == service_of(MAIN_EXPERT) and not self._backends.directory.instances(expert):
            return ""
        return f"{expert} has no instance that answers"

    def _continuation_request(self) -> ChatRequest:
        """Return the request, or what asks for the rest of an answer of which something was said."""
        said, messages = self._said.rstrip(), self._request.messages
        if not said:
            return self._request
        if messages[-1].role == "assistant":
            said, messages = messages[-1].content + said, messages[:-1]
        return replace(
            self._request,
            messages=(*messages, Message("assistant", said)),
            max_tokens=self._request.max_tokens - self._tokens,
        )

    def _note(self, attempt: Attempt, exc: AdapterError) -> None:
        """Note that one failed.

        Raises:
            AdapterError: Nobody could do better: the request is wrong.
        """
        if exc.code == INVALID_REQUEST:
            raise exc
        self._failure, self._fallback = exc, exc.message
        if attempt.backend is not None and exc.retryable:
            attempt.backend.on_error()
        has_begun = bool(self._said)
        log.warning(
            "A model does not answer", extra={"who": attempt.source, "code": exc.code, "has_begun": has_begun}
        )

    def _left_s(self) -> float:
        return self._ends_s - self._clock.monotonic_s()


def _silence(what: str) -> AdapterError:
    return AdapterError("llm-timeout", what, retryable=True)
