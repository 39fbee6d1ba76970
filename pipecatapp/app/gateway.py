"""Wires the gateway: upstreams, connections, codec and API keys.

It owns which servers stand behind an expert's name and where keys are kept; how requests are passed on is
`gateway`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipecatapp.adapters.audio.codec import PyAvCodec
from pipecatapp.adapters.http.stream_client import HttpConnectionPool
from pipecatapp.adapters.llm.llama_errors import parse_rejection
from pipecatapp.adapters.stt.chunking import pcm_chunks
from pipecatapp.app.api_keys import watch_api_keys
from pipecatapp.app.discovery import EndpointCredentials
from pipecatapp.app.engines import PickedLlm, llm_key, uses_only_own_llm
from pipecatapp.experts.backend_pool import Backend, BackendPool
from pipecatapp.experts.service_names import NATIVE_TOOLS, display_name, expert_names, service_of
from pipecatapp.gateway.audio import Synthesizer, Transcriber
from pipecatapp.gateway.proxy import UpstreamProxy
from pipecatapp.gateway.rate_limits import RateLimiter
from pipecatapp.gateway.service import Gateway
from pipecatapp.gateway.tool_emulation import ToolPrompts
from pipecatapp.gateway.upstreams import DEFAULT, Upstream
from pipecatapp.ports import MAIN_EXPERT, Clock, Embedder, Endpoint, SpeechToText, TextToSpeech
from pipecatapp.settings import Settings
from pipecatapp.workflow.prompts import PromptLibrary


@dataclass(frozen=True, slots=True)
class Engines:
    """What of the agent's own the gateway lends."""

    embedder: Embedder
    stt: SpeechToText
    tts: TextToSpeech


class ClusterUpstreams:
    """The experts that the agent's own calls ask, and this machine's own model behind `main`.

    Args:
        backends: The experts, and what was seen of them.
        credentials: How an instance is asked.
        own: Returns this machine's own model's server; None while there is none.
        uses_only_own_llm: The own one is `main`: no other is asked for it, whatever the directory knows.
    """

    def __init__(
        self,
        backends: BackendPool,
        credentials: Callable[[Endpoint], EndpointCredentials],
        own: Callable[[], Upstream | None],
        *,
        uses_only_own_llm: bool,
    ) -> None:
        self._backends = backends
        self._credentials = credentials
        self._own = own
        self._own_is_main = uses_only_own_llm

    def experts(self) -> Sequence[str]:
        """Return the names of those that can be asked now, `main` first."""
        directory = self._backends.directory
        others = [name for name in expert_names(directory) if name != MAIN_EXPERT]
        up = [name for name in others if directory.healthy(service_of(name))]
        return [*([MAIN_EXPERT] if self.for_expert(MAIN_EXPERT) else []), *up]

    def for_expert(self, expert: str) -> Sequence[Upstream]:
        """Return who answers for `expert`, best first; those that failed lately come last."""
        name = MAIN_EXPERT if expert == DEFAULT else expert
        found = self._own() if name == MAIN_EXPERT else None
        own = [found] if found else []
        if name == MAIN_EXPERT and self._own_is_main:
            return own
        service = service_of(name)
        fine = map(self._upstream, self._backends.candidates(service))
        return [*fine, *own, *map(self._upstream, self._backends.tripped(service))]

    def is_known(self, expert: str) -> bool:
        """Return whether there is such an expert; `main` is wherever there is an agent."""
        return expert in (MAIN_EXPERT, DEFAULT) or bool(
            self._backends.directory.instances(service_of(expert))
        )

    def _upstream(self, backend: Backend) -> Upstream:
        endpoint = backend.endpoint
        credentials = self._credentials(endpoint)
        return Upstream(
            base_url=endpoint.base_url,
            name=display_name(endpoint),
            api_key=credentials.api_key,
            model="" if credentials.is_llama else credentials.model,
            calls_tools=NATIVE_TOOLS in endpoint.tags,
            observer=backend,
        )


async def make_gateway(
    settings: Settings,
    backends: BackendPool,
    credentials: Callable[[Endpoint], EndpointCredentials],
    clock: Clock,
    llm: PickedLlm,
    engines: Engines,
    told: ToolPrompts,
) -> Gateway:
    """Return the gateway over an agent that is up."""
    own = _own(settings, llm)
    upstreams = ClusterUpstreams(backends, credentials, own, uses_only_own_llm=uses_only_own_llm(settings))
    keys = await watch_api_keys(settings)
    codec = PyAvCodec()
    return Gateway(
        keys=keys,
        limiter=RateLimiter(clock),
        proxy=UpstreamProxy(upstreams, HttpConnectionPool(), parse_rejection),
        embedder=engines.embedder,
        transcriber=Transcriber(engines.stt, codec, pcm_chunks),
        synthesizer=Synthesizer(engines.tts, codec),
        tool_prompts=told,
    )


def tool_prompts(prompts: PromptLibrary) -> ToolPrompts:
    """Return what a model without tools of its own is told of a caller's."""
    pairs = (line.split(" | ", 1) for line in prompts.lines("gateway_word_examples"))
    return ToolPrompts(
        prompts.get("gateway_tools"),
        prompts.get("gateway_words"),
        [(request, answer) for request, answer in pairs],
    )


def _own(settings: Settings, llm: PickedLlm) -> Callable[[], Upstream | None]:
    """Return a question for this machine's own model's server, or the one that LLM_BASE_URL names."""
    server = llm.server
    if server is not None:
        child = Upstream(base_url=server.base_url, name="this machine's own model", api_key=server.api_key)
        return lambda: child if server.is_ready else None
    if not settings.llm_base_url:
        return lambda: None
    # A server that is not llama.cpp wants its model's own name, and may take no grammar.
    is_other = settings.llm_service == "openai"
    named = Upstream(
        base_url=settings.llm_base_url.rstrip("/"),
        name="the server that LLM_BASE_URL names",
        api_key=llm_key(settings, settings.llm_base_url),
        model=(settings.llm_model or "default") if is_other else "",
        calls_tools=is_other,
    )
    return lambda: named
