"""One question to an expert: who is asked, who else when that one is slow, and who goes on when it dies.

It owns the order of one call, its times, and that the pieces of several models are one answer. What was seen
of the instances is `backend_pool`'s; how a server is asked to go on is its adapter's.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from typing import cast

from pipecatapp.errors import AdapterError
from pipecatapp.experts.backend_pool import Instance, Instances, answer_of
from pipecatapp.experts.service_names import MAIN, service_of
from pipecatapp.ports import ChatDelta, ChatRequest, Clock, LlmClient, Message

log = logging.getLogger(__name__)

OUR_FAULT = "llm-request"
"""Code of a request that nobody would take."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a call waits for what (all in seconds, > 0).

    A request that names its deadline says how patient its caller is: `house_s` is then `house_share` of it,
    and `other_model_s` changes in proportion.

    Args:
        call_s: For a whole answer of no length, from asking to its last piece: its prompt, and spare.
        token_s: For each token of its bound besides: two a second is the slowest that anybody listens to.
        house_s: For the first word of the house's instances together, this machine's own model being there. A
            long prompt takes an old desktop half of it, and a workflow's `llm` node waits 30.
        house_share: The part of a deadline that is theirs.
        first_hedge_s: For the first word before a second instance is asked, until enough was seen of the
            first words of that expert; from then on, the time in which 95 of 100 began.
        least_hedge_s: Shortest such time: less is the network's jitter, and costs an instance for nothing.
        most_hedge_s: Longest such time.
        other_model_s: Shortest such time when only another model is left to be asked: it answers less well.
        stall_s: For the next word of an answer that has begun, while there is somebody to go on. A
            neighbour's prompt may hold a server up: a batch of it
            (`adapters.llm.server_process.BATCH_TOKENS`), 512 tokens, takes an old desktop 8.
    """

    call_s: float = 60.0
    token_s: float = 0.5
    house_s: float = 20.0
    house_share: float = 0.6
    first_hedge_s: float = 2.0
    least_hedge_s: float = 0.5
    most_hedge_s: float = 5.0
    other_model_s: float = 6.0
    stall_s: float = 10.0

    def for_(self, request: ChatRequest) -> Patience:
        """Return the patience with one request; `call_s` is then its whole time."""
        if not request.deadline_s:
            return replace(self, call_s=self.call_s + self.token_s * request.max_tokens)
        house_s = self.house_share * request.deadline_s
        other_model_s = self.other_model_s * house_s / self.house_s
        return replace(self, call_s=request.deadline_s, house_s=house_s, other_model_s=other_model_s)


class Attempt:
    """One model that is asked: its answer, and its first piece as a task.

    Args:
        client: Who is asked.
        request: What is asked.
        now_s: Time.
        service: The service that it belongs to; "" for this machine's own model.
        instance: The instance; None for this machine's own model.
    """

    def __init__(
        self,
        client: LlmClient,
        request: ChatRequest,
        now_s: float,
        service: str = "",
        instance: Instance | None = None,
    ) -> None:
        self.by = client.name
        self.service = service
        self.instance = instance
        self.began_s = now_s
        self.deltas = answer_of(client, request)
        self.first = asyncio.create_task(self._first(), name=f"first word of {self.by}")
        if instance is not None:
            instance.begun()

    async def _first(self) -> ChatDelta:
        async for delta in self.deltas:
            return delta
        raise AdapterError("llm-broke-off", f"{self.by} ended its answer before it began", retryable=True)

    async def stop(self) -> None:
        """Close the answer, which ends the work at the other side."""
        if self.instance is not None:
            self.instance.ended()
        self.first.cancel()
        await asyncio.wait({self.first})
        if not self.first.cancelled():
            self.first.exception()
        await self.deltas.aclose()


class Call:
    """One question.

    Args:
        request: What is asked.
        services: Whose instances are asked, one service after the other; the first is the expert's own.
        instances: What there is.
        own: This machine's own model, asked after them; None for none.
        clock: Time.
        patience: How long it waits for what.
    """

    def __init__(
        self,
        request: ChatRequest,
        services: Sequence[str],
        instances: Instances,
        own: LlmClient | None,
        clock: Clock,
        patience: Patience,
    ) -> None:
        self._request = request
        self._services = services
        self._instances = instances
        self._own = own
        self._clock = clock
        self._patience = patience.for_(request)
        self._asked: set[str] = set()
        self._slow: list[tuple[str, Instance]] = []
        self._is_own_asked = False
        self._failure: AdapterError | None = None
        self._because = ""
        self._said = ""
        self._tokens = 0
        self._is_going_on = False
        self._heard_s = clock.monotonic_s()
        self._ends_s = self._heard_s + self._patience.call_s

    async def answer(self) -> AsyncGenerator[ChatDelta, None]:
        """Yield one answer, whoever gives its parts.

        Raises:
            AdapterError: Nobody is left who could answer or go on, or it took too long; `no-expert` when
                there was nobody from the beginning.
        """
        await self._instances.let_go_of_the_gone()
        while True:
            speaker = await self._begin()
            if self._because:
                log.info("Another model answers", extra={"by": speaker.by, "goes_on": bool(self._said)})
            stall_s = self._patience.stall_s if self._can_another() else math.inf
            said_before, self._is_going_on = self._tokens, bool(self._said)
            try:
                delta: ChatDelta | None = speaker.first.result()
                while delta is not None:
                    text = self._joined(delta.text)
                    if text or delta.finish:
                        yield replace(
                            delta,
                            text=text,
                            completion_tokens=delta.completion_tokens + said_before if delta.finish else 0,
                            by=speaker.by,
                            because=self._because,
                        )
                    self._heard_s = self._clock.monotonic_s()
                    delta = await self._next_piece(speaker, stall_s)
                return
            except AdapterError as exc:
                self._note(speaker, exc)
            finally:
                await speaker.stop()
            if self._tokens >= self._request.max_tokens:
                yield ChatDelta(
                    "", "length", completion_tokens=self._tokens, by=speaker.by, because=self._because
                )
                return

    def _joined(self, text: str) -> str:
        """Note a piece and return it; what goes on brings no second space."""
        if self._said and self._said[-1].isspace() and self._is_going_on:
            text = text.lstrip()
        self._is_going_on = self._is_going_on and not text
        self._said += text
        self._tokens += bool(text)
        return text

    async def _next_piece(self, speaker: Attempt, stall_s: float) -> ChatDelta | None:
        try:
            async with asyncio.timeout(min(stall_s, self._left_s())):
                return await anext(speaker.deltas, None)
        except TimeoutError as exc:
            raise _silence(f"{speaker.by} fell silent in the middle of its answer") from exc

    async def _begin(self) -> Attempt:
        """Return the first of those asked who speaks; the others are stopped."""
        house_ends_s = self._heard_s + self._patience.house_s
        running: list[Attempt] = []
        try:
            while True:
                if not running:
                    running.append(self._ask_next(house_ends_s))
                hedge_s = self._hedge_s(running, house_ends_s)
                # The house's instances have their time; what is over it is this machine's own model's.
                is_last = self._own is None or self._is_own_asked
                limit_s = self._ends_s if is_last else min(house_ends_s, self._ends_s)
                wait_s = max(0.0, min(limit_s, hedge_s) - self._clock.monotonic_s())
                await asyncio.wait(
                    [attempt.first for attempt in running],
                    timeout=wait_s,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if speaker := await self._speaker_of(running):
                    return speaker
                now_s = self._clock.monotonic_s()
                if now_s >= limit_s:
                    for attempt in [*running]:
                        running.remove(attempt)
                        await attempt.stop()
                        self._note(attempt, _silence(f"{attempt.by} did not begin to answer"))
                elif running and now_s >= hedge_s:
                    log.info("An expert is slow; another is asked too", extra={"slow": running[0].by})
                    running.append(self._ask_next(house_ends_s))
        finally:
            for attempt in running:
                await attempt.stop()

    async def _speaker_of(self, running: list[Attempt]) -> Attempt | None:
        """Take out of `running` who spoke, and return the first of them, and who failed."""
        for attempt in [attempt for attempt in running if attempt.first.done()]:
            failure = attempt.first.exception()
            if failure is not None and not isinstance(failure, AdapterError):
                raise failure
            running.remove(attempt)
            if failure is not None:
                await attempt.stop()
                self._note(attempt, failure)
                continue
            now_s = self._clock.monotonic_s()
            if attempt.instance is not None:
                attempt.instance.answered()
                self._instances.spoke(attempt.service, now_s - attempt.began_s)
            for other in running:
                self._lost(other, attempt, now_s)
            return attempt
        return None

    def _lost(self, loser: Attempt, winner: Attempt, now_s: float) -> None:
        """Note who did not speak first; it may still have to go on."""
        if loser.instance is None:
            self._is_own_asked = False
            return
        self._slow.append((loser.service, loser.instance))
        if loser.began_s < winner.began_s:
            loser.instance.breaker.lost_race()
            self._because = f"{loser.by} was silent for {now_s - loser.began_s:.1f} s"

    def _hedge_s(self, running: Sequence[Attempt], house_ends_s: float) -> float:
        """Return when a second one is asked too; never while two are asked, or when nobody is left."""
        candidates = self._candidates(house_ends_s)
        if len(running) > 1 or not candidates:
            return math.inf
        first, patience = running[0], self._patience
        seen_s = self._instances.slow_after_s(first.service)
        after_s = patience.first_hedge_s if seen_s is None else seen_s
        after_s = min(max(after_s, patience.least_hedge_s), patience.most_hedge_s)
        if candidates[0][0] != first.service:
            after_s = max(after_s, patience.other_model_s)
        return first.began_s + after_s

    def _candidates(self, house_ends_s: float) -> list[tuple[str, Instance | None]]:
        """Return who is left, best first: a service and its instance, "" and None for our own model.

        After our own model come those who were slow in this call, and those that failed lately: a machine
        that is gone costs three seconds.
        """
        fresh = [
            (service, instance)
            for service in self._services
            for instance in self._instances.to_ask(service, self._request.session)
            if instance.endpoint.base_url not in self._asked
        ]
        failing = [
            (service, instance)
            for service in self._services
            for instance in self._instances.failing(service)
            if instance.endpoint.base_url not in self._asked
        ]
        last = [*self._slow, *failing]
        if self._own is None or self._is_own_asked:
            return [*fresh, *last]
        if self._clock.monotonic_s() >= house_ends_s:
            return [("", None), *fresh, *last]
        return [*fresh, ("", None), *last]

    def _can_another(self) -> bool:
        """Whether somebody who did not fail lately is left to go on."""
        candidates = self._candidates(math.inf)
        return any(instance is None or instance.breaker.lets_through for _, instance in candidates)

    def _ask_next(self, house_ends_s: float) -> Attempt:
        candidates = self._candidates(house_ends_s)
        if self._failure is not None and (not candidates or self._left_s() <= 0):
            raise self._failure
        if not candidates:
            raise AdapterError(
                "no-expert",
                f"{self._instances.directory.name} knows no {' and no '.join(self._services)}, "
                "and this machine has no language model.",
                hint="Start an expert, or set LLM_BASE_URL.",
                retryable=True,
            )
        service, instance = candidates[0]
        if not self._because and service != next(iter(self._services), ""):
            self._because = self._absence()
        now_s, request = self._clock.monotonic_s(), self._going_on()
        if instance is None:
            self._is_own_asked = True
            return Attempt(cast(LlmClient, self._own), request, now_s)
        self._asked.add(instance.endpoint.base_url)
        self._slow = [slow for slow in self._slow if slow[1] is not instance]
        # Prompt caches are numbered by one client; the experts of the house have many.
        return Attempt(instance.client, replace(request, slot=-1), now_s, service, instance)

    def _absence(self) -> str:
        """Return why another than the expert is asked first; "" for a house whose `main` is our own model."""
        expert = self._services[0]
        if expert == service_of(MAIN) and not self._instances.directory.known(expert):
            return ""
        return f"{expert} has no instance that answers"

    def _going_on(self) -> ChatRequest:
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
        if exc.code == OUR_FAULT:
            raise exc
        self._failure, self._because = exc, exc.message
        if attempt.instance is not None and exc.retryable:
            attempt.instance.failed()
        has_begun = bool(self._said)
        log.warning(
            "A model does not answer", extra={"who": attempt.by, "code": exc.code, "has_begun": has_begun}
        )

    def _left_s(self) -> float:
        return self._ends_s - self._clock.monotonic_s()


def _silence(what: str) -> AdapterError:
    return AdapterError("llm-timeout", what, retryable=True)
