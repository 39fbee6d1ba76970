"""Checks that every expert of the cluster, and the agent itself, complete a real prompt.

It owns who is asked, what, and how an answer is judged; printing the verdicts is the command line's business.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from pipecatapp.adapters.consul.directory import ConsulDirectory
from pipecatapp.adapters.discovery.composite import CompositeDirectory
from pipecatapp.agent.fallback_replies import FALLBACK_REPLIES
from pipecatapp.app.clock import SystemClock
from pipecatapp.app.discovery import EndpointCredentials, consul_http, credentials_for, external_experts
from pipecatapp.errors import AdapterError, ConfigError
from pipecatapp.experts.service_names import EXPERT_PREFIX, expert_names, service_of
from pipecatapp.ports import MAIN_EXPERT, ChatRequest, Endpoint, Message, ServiceDirectory
from pipecatapp.settings import Settings

PROMPT = "What is water? Answer in one short sentence."
ANSWER_TOKENS = 32
"""Bound of a checked answer: enough for a sentence, and ten seconds of a Core 2 Duo."""
FIRST_ANSWER_S = 15.0
"""Longest wait for what Consul knows (seconds)."""
AGENT = "agent"
"""Name of the agent's own line."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one check.

    Args:
        name: The expert, or `agent`.
        where: Node and address, or "".
        is_well: Whether it completed its prompt.
        detail: What it did, in words.
    """

    name: str
    where: str
    is_well: bool
    detail: str


@dataclass(frozen=True, slots=True)
class CheckRequest:
    """What is to be checked.

    Args:
        experts: Must be in Consul; empty for all that are there, and `main`, which may also be the agent's
            own model.
        deployed: Must be in Consul beside these: there is a job for each.
        agent_url: Where the house's page is, such as this node's ingress.
        timeout_s: Longest wait for one whole answer (seconds, > 0).
    """

    experts: tuple[str, ...]
    agent_url: str
    timeout_s: float
    deployed: tuple[str, ...] = ()


async def check_experts(settings: Settings, request: CheckRequest) -> list[Verdict]:
    """Ask everybody at the same time, those elsewhere too; return a verdict for each, experts first.

    Raises:
        ConfigError: TWIN_CONSUL_URL is not set, or what is written of experts elsewhere is wrong.
        AdapterError: Consul does not say who there is.
    """
    if not settings.consul_url:
        raise ConfigError(
            "setting-missing",
            "Experts are found in Consul, and TWIN_CONSUL_URL is not set.",
            hint="On a node of the cluster: TWIN_CONSUL_URL=http://127.0.0.1:8500 twin check-experts",
        )
    external = external_experts(settings)
    directory = await ConsulDirectory.open(
        consul_http(settings), SystemClock(), prefixes=(EXPERT_PREFIX,), first_answer_s=FIRST_ANSWER_S
    )
    try:
        if directory.state().is_stale:
            raise AdapterError(
                "consul-unheard",
                f"Nobody can be checked: {directory.state().reason}",
                hint="The token needs service:read for llama-api- and node:read.",
            )
        everybody = CompositeDirectory(directory, [expert.endpoint for expert in external])
        return await _check(request, everybody, credentials_for(settings, external))
    finally:
        await directory.close()


async def _check(
    request: CheckRequest, directory: ServiceDirectory, credentials: Callable[[Endpoint], EndpointCredentials]
) -> list[Verdict]:
    named = request.experts or (MAIN_EXPERT, *expert_names(directory))
    expected = tuple(dict.fromkeys([*named, *request.deployed]))
    absent = [name for name in expected if not directory.instances(service_of(name))]
    checks: list[Awaitable[Verdict]] = []
    verdicts: list[Verdict] = []
    for name in expected:
        endpoints = directory.healthy(service_of(name))
        checks += [
            _ask_expert(name, endpoint, credentials(endpoint), request.timeout_s) for endpoint in endpoints
        ]
        known = directory.instances(service_of(name))
        if known and not endpoints:
            nodes = ", ".join(sorted({endpoint.node for endpoint in known}))
            detail = f"{service_of(name)} is registered on {nodes}, but passes its checks nowhere"
            verdicts.append(Verdict(name, "", False, detail))
    *answers, agent = await asyncio.gather(*checks, _ask_agent(request.agent_url, request.timeout_s))
    verdicts += answers
    for name in absent:
        if name == MAIN_EXPERT and not request.experts and name not in request.deployed:
            detail = "no llama-api-main: the agent's own model is the expert main"
            verdicts.append(Verdict(name, "", agent.is_well, detail))
        else:
            verdicts.append(Verdict(name, "", False, f"missing: Consul knows no {service_of(name)}"))
    return [*sorted(verdicts, key=lambda verdict: expected.index(verdict.name)), agent]


async def _ask_expert(name: str, endpoint: Endpoint, how: EndpointCredentials, timeout_s: float) -> Verdict:
    where = endpoint.external_base_url or f"{endpoint.node} {endpoint.address}:{endpoint.port}"
    client = how.client(endpoint, name=endpoint.service, timeout_s=timeout_s)
    request = ChatRequest(messages=(Message("user", PROMPT),), max_tokens=ANSWER_TOKENS)

    async def ask() -> str:
        deltas = [delta async for delta in client.stream(request)]
        if deltas[-1].finish not in {"stop", "length"}:
            raise AdapterError("llm-broke-off", "ended its answer with an error")
        return "".join(delta.text for delta in deltas)

    try:
        return await _judged(name, where, ask, timeout_s)
    finally:
        await client.close()


async def _ask_agent(url: str, timeout_s: float) -> Verdict:
    """Check the agent's health, and one typed turn, through `url`."""
    base = url.rstrip("/")
    # The house's own authority is not among the system's, and what is asked is no secret.
    async with httpx.AsyncClient(base_url=base, timeout=timeout_s, verify=False, trust_env=False) as http:  # noqa: S501

        async def ask() -> str:
            health = _object(await http.get("/health"))
            if health.get("status") != "ok":
                raise AdapterError("agent-not-ready", _words_of(health) or "is not ready")
            reply = _object(await http.post("/api/chat", json={"text": PROMPT}))
            text = str(reply.get("text", ""))
            if text in FALLBACK_REPLIES or "error" in reply:
                raise AdapterError("agent-apologised", _words_of(reply) or f"only said: {text}")
            return text

        return await _judged(AGENT, base, ask, timeout_s)


async def _judged(name: str, where: str, ask: Callable[[], Awaitable[str]], timeout_s: float) -> Verdict:
    """Run `ask` and judge its answer: a sentence with a word in it, in time."""
    started_s = time.monotonic()
    try:
        async with asyncio.timeout(timeout_s):
            text = await ask()
    except TimeoutError:
        return Verdict(name, where, False, f"did not finish its answer in {timeout_s:g} s")
    except AdapterError as exc:
        return Verdict(name, where, False, exc.message)
    except httpx.TimeoutException:
        return Verdict(name, where, False, f"was silent for {timeout_s:g} s")
    except httpx.HTTPError as exc:
        return Verdict(name, where, False, f"cannot be reached ({exc})")
    if not any(character.isalnum() for character in text):
        return Verdict(name, where, False, "answered without a word")
    seconds = time.monotonic() - started_s
    return Verdict(name, where, True, f"answered {len(text)} characters in {seconds:.1f} s")


def _object(reply: httpx.Response) -> dict[str, Any]:
    try:
        value = reply.json()
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise AdapterError("bad-reply", f"answered {reply.status_code} and what is not Twin's")
    return value


def _words_of(reply: dict[str, Any]) -> str:
    error = reply.get("error")
    return str(error.get("message", "")) if isinstance(error, dict) else ""


def expected_experts(given: Sequence[str], settings: Settings) -> tuple[str, ...]:
    """Return the experts that must be in Consul: those given, else those of TWIN_EXPERTS."""
    return names_of([*given] or settings.experts.split(","))


def names_of(given: Sequence[str]) -> tuple[str, ...]:
    """Return experts' names, each once: they may be given as their services' names."""
    return tuple(dict.fromkeys(name.strip().removeprefix(EXPERT_PREFIX) for name in given if name.strip()))
