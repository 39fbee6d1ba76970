"""Service discovery of this agent: its directory, and the experts it finds there.

It owns which directory there is, what it follows, and how an expert of it becomes the language model.
Following is the adapters' business, asking is `experts`'s.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from pipecatapp.adapters.consul.directory import ConsulDirectory
from pipecatapp.adapters.consul.http import ConsulHttp, TokenSource
from pipecatapp.adapters.discovery.composite import CompositeDirectory
from pipecatapp.adapters.discovery.static import StaticDirectory
from pipecatapp.adapters.host.cpu import CpuInfo
from pipecatapp.adapters.llm.openai_chat import OpenAiLlm
from pipecatapp.app.allowed_hosts import FRONT_SERVICE
from pipecatapp.app.engines import PickedLlm, pick_llm, uses_only_own_llm
from pipecatapp.app.external_api_keys import read_external_keys
from pipecatapp.artifacts.model_store import ModelStore
from pipecatapp.errors import AgentError
from pipecatapp.experts.external import ExternalExpert, load_external
from pipecatapp.experts.pool import ExpertPool
from pipecatapp.experts.service_names import (
    EXPERT_PREFIX,
    MEMORY_SERVICE,
    display_name,
    expert_names,
    healthy_or_all,
    service_of,
)
from pipecatapp.ports import MAIN_EXPERT, Clock, Endpoint, Experts, LlmClient, ServiceDirectory
from pipecatapp.settings import Settings

log = logging.getLogger(__name__)

EXPERT_TIMEOUT_S = 600.0
"""Longest wait for an expert's next byte (seconds): a bound for what is forgotten. How long a call waits
before another is asked is `experts.hedged_request.HedgingPolicy`."""


def consul_http(settings: Settings) -> ConsulHttp:
    """Return a connection to the Consul that TWIN_CONSUL_URL names.

    Raises:
        ConfigError: CONSUL_CACERT cannot be used.
    """
    token = TokenSource(settings.consul_token.get_secret_value(), settings.consul_token_file)
    return ConsulHttp(settings.consul_url, token, ca=settings.consul_ca)


@dataclass(frozen=True, slots=True)
class EndpointCredentials:
    """How an expert is asked.

    Args:
        model: What it is asked for.
        api_key: What it is shown; "" for nothing.
        is_llama: It is llama.cpp, and takes fields of its own.
    """

    model: str
    api_key: str = field(default="", repr=False)
    is_llama: bool = True

    def client(self, endpoint: Endpoint, *, name: str, timeout_s: float) -> OpenAiLlm:
        """Return a connection to an instance, called `name`, that waits `timeout_s` seconds for each byte."""
        return OpenAiLlm(
            endpoint.base_url,
            self.model,
            self.api_key,
            name=name,
            request_timeout_s=timeout_s,
            llama_extensions=self.is_llama,
        )


def external_experts(settings: Settings) -> tuple[ExternalExpert, ...]:
    """Return the experts elsewhere that the owner has written down.

    Raises:
        ConfigError: The file of experts or the keys are wrong; the message names the place.
    """
    keys, source = read_external_keys(settings)
    found = load_external(settings.catalogue_dir, keys, source)
    if found:
        log.info(
            "What these experts are asked leaves the house",
            extra={"experts": {expert.name: expert.base_url for expert in found}},
        )
    return found


def credentials_for(
    settings: Settings, external: Iterable[ExternalExpert]
) -> Callable[[Endpoint], EndpointCredentials]:
    """Return how each expert is asked: one elsewhere is shown its own key, and never the house's."""
    cluster = EndpointCredentials(settings.llm_model or "default", settings.expert_api_key)
    others = {
        expert.endpoint.id: EndpointCredentials(expert.model, expert.api_key, is_llama=False)
        for expert in external
    }
    return lambda endpoint: others[endpoint.id] if endpoint.external_base_url else cluster


async def open_directory(
    settings: Settings, clock: Clock, external: Sequence[ExternalExpert] = ()
) -> ServiceDirectory:
    """Return the house's directory, with the experts elsewhere; those alone without TWIN_CONSUL_URL.

    Raises:
        ConfigError: CONSUL_CACERT cannot be used.
    """
    elsewhere = [expert.endpoint for expert in external]
    if not settings.consul_url:
        return StaticDirectory(clock, elsewhere)
    directory = await ConsulDirectory.open(
        consul_http(settings), clock, prefixes=(EXPERT_PREFIX,), services=(MEMORY_SERVICE, FRONT_SERVICE)
    )
    log.info(
        "Following services",
        extra={
            "source": directory.name,
            "experts": expert_names(directory),
            "stale": directory.state().reason,
        },
    )
    return CompositeDirectory(directory, elsewhere) if elsewhere else directory


def memory_urls(directory: ServiceDirectory) -> Callable[[], Sequence[str]]:
    """Return a question for the memory service's addresses of this moment, best first."""
    return lambda: [endpoint.url for endpoint in healthy_or_all(directory, MEMORY_SERVICE)]


async def pick_experts(
    settings: Settings,
    store: ModelStore,
    cpu: CpuInfo,
    directory: ServiceDirectory,
    credentials: Callable[[Endpoint], EndpointCredentials],
    clock: Clock,
) -> tuple[PickedLlm, ExpertPool]:
    """Return the language model and all experts by name.

    The language model is the house's expert `main` where it is, this machine's own behind it. A machine that
    has no model of its own needs a `main` that passes its checks now. Without Consul, or when LLM_BASE_URL
    names another machine's server, it is what `pick_llm` says, and that is asked last for every other expert.

    Returns:
        The language model, which ends the child server when it is closed; the pool is closed by itself.

    Raises:
        AgentError: It cannot be had; the message says what to do.
    """

    def connect(endpoint: Endpoint) -> LlmClient:
        return credentials(endpoint).client(endpoint, name=display_name(endpoint), timeout_s=EXPERT_TIMEOUT_S)

    if uses_only_own_llm(settings):
        alone = await pick_llm(settings, store, cpu)
        pool = ExpertPool(directory, connect, clock, own=alone.client, uses_only_own_llm=True)
        return replace(alone, client=pool.client(MAIN_EXPERT)), pool
    own: PickedLlm | None = None
    try:
        own = await pick_llm(settings, store, cpu)
    except AgentError as exc:
        if not directory.healthy(service_of(MAIN_EXPERT)):
            raise
        log.warning("This machine has no language model of its own", extra={"code": exc.code})
    pool = ExpertPool(directory, connect, clock, own=own.client if own else None)
    client = pool.client(MAIN_EXPERT)
    # A server of this machine that is no child of ours is taken at its word.
    is_served_here = own is not None and own.server is None
    behind = f"; else {own.reason}" if own else "; there is none of this machine's own"
    picked = PickedLlm(
        client,
        own.server if own else None,
        f"{service_of(MAIN_EXPERT)} where {directory.name} knows one{behind}",
        is_elsewhere=lambda: is_served_here or client.is_up(),
    )
    return picked, pool


async def follow_experts(directory: ServiceDirectory, warm: Callable[[], Awaitable[None]]) -> None:
    """Call `warm` after each change of the directory, for ever.

    What an expert that appears says it is good at is so compared with the first request, not read then.
    """
    version = directory.version
    while True:
        version = await directory.wait_for_change(version)
        try:
            await warm()
        except AgentError as exc:
            log.warning("What experts say could not be read", extra={"code": exc.code})


def describe_experts(
    directory: ServiceDirectory, settings: Settings, llm: PickedLlm, experts: Experts
) -> Mapping[str, Any]:
    """Return what `GET /api/experts` says: who there is, where, what for, and how far that can be trusted."""
    if isinstance(directory, StaticDirectory):
        directory.add(replace(_alone(settings, llm), passing=llm.is_up()))
    state = directory.state()
    said = {expert.name: expert for expert in experts.all()}
    return {
        "source": directory.name,
        "stale": state.is_stale,
        "age_s": round(state.age_s, 1),
        "reason": state.reason,
        "answering": llm.client.name,
        "experts": [
            {
                "name": name,
                "service": service_of(name),
                "description": said[name].description,
                "examples": said[name].examples,
                "passing": len(directory.healthy(service_of(name))),
                "endpoints": [_address(endpoint) for endpoint in directory.instances(service_of(name))],
            }
            for name in expert_names(directory)
        ],
    }


def _address(endpoint: Endpoint) -> Mapping[str, Any]:
    """Return an endpoint without its metadata, which is told as what its expert is good at."""
    told = asdict(endpoint)
    del told["meta"]
    return told | {"elsewhere": told.pop("external_base_url")}


def _alone(settings: Settings, llm: PickedLlm) -> Endpoint:
    """Return the language model of a machine without Consul as an expert."""
    url = urlsplit(llm.server.base_url if llm.server is not None else settings.llm_base_url)
    port = url.port or (443 if url.scheme == "https" else 80)
    return Endpoint(
        service=service_of(MAIN_EXPERT),
        id="own",
        node=socket.gethostname(),
        address=url.hostname or "",
        port=port,
    )
