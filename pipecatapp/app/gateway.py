"""The gateway of this agent, made of its parts.

It owns which servers of the house stand behind an expert's name and where keys are kept; how requests are
passed on is `gateway`'s.
"""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipecatapp.adapters.static_directory import StaticDirectory
from pipecatapp.app.engines import PickedLlm, llm_key, own_is_main
from pipecatapp.app.keys import open_keys
from pipecatapp.experts.names import MAIN, experts_in, service_of
from pipecatapp.gateway.audio import Ears, Mouth
from pipecatapp.gateway.limits import Limits
from pipecatapp.gateway.relay import Relay
from pipecatapp.gateway.service import Gateway
from pipecatapp.gateway.tool_plan import ToolPrompts
from pipecatapp.gateway.upstreams import DEFAULT, Upstream
from pipecatapp.ports import Clock, Embedder, Endpoint, ServiceDirectory, SpeechToText, TextToSpeech
from pipecatapp.settings import Settings
from pipecatapp.workflow.prompts import PromptLibrary

AVOID_S = 10.0
"""How long a server that failed is asked last (seconds): Consul's check will have noticed by then."""
NATIVE_TOOLS = "tools=native"
"""Tag of an expert's service whose model calls tools by itself."""


@dataclass(frozen=True, slots=True)
class Engines:
    """What of the agent's own the gateway lends."""

    embedder: Embedder
    stt: SpeechToText
    tts: TextToSpeech


class HouseUpstreams:
    """The experts of a directory, and this machine's own model behind `main`.

    Args:
        directory: Where experts are.
        clock: Time.
        api_key: Key of the experts in the directory; "" for none.
        own: Returns this machine's own model's server; None while there is none.
        own_is_main: The own one is `main`: no other is asked for it, whatever the directory knows.
    """

    def __init__(
        self,
        directory: ServiceDirectory,
        clock: Clock,
        api_key: str,
        own: Callable[[], Upstream | None],
        *,
        own_is_main: bool,
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._api_key = api_key
        self._own = own
        self._own_is_main = own_is_main
        self._busy: dict[str, int] = {}
        self._failed_s: dict[str, float] = {}
        self._salt = secrets.token_bytes(8)

    def experts(self) -> Sequence[str]:
        """Return the names of those that can be asked now, `main` first."""
        known = [] if isinstance(self._directory, StaticDirectory) else experts_in(self._directory)
        others = [name for name in known if name != MAIN and self._directory.current(service_of(name))]
        return [*([MAIN] if self.to_ask(MAIN) else []), *others]

    def to_ask(self, expert: str) -> Sequence[Upstream]:
        """Return who answers for `expert`: those that did not fail lately and have least to do come first."""
        name = MAIN if expert == DEFAULT else expert
        own = self._own() if name == MAIN else None
        if name == MAIN and self._own_is_main:
            return [own] if own else []
        found = sorted(map(self._upstream, self._directory.current(service_of(name))), key=self._rank)
        return [*found, *([own] if own else [])]

    def begun(self, upstream: Upstream) -> None:
        """Note that a request to it is under way."""
        self._busy[upstream.base_url] = self._busy.get(upstream.base_url, 0) + 1

    def ended(self, upstream: Upstream, *, failed: bool) -> None:
        """Note that it is over."""
        url = upstream.base_url
        self._busy[url] -= 1
        if not self._busy[url]:
            del self._busy[url]
        if failed:
            self._failed_s[url] = self._clock.monotonic_s()
        elif url in self._failed_s and not self._is_avoided(url):
            del self._failed_s[url]

    def _upstream(self, endpoint: Endpoint) -> Upstream:
        return Upstream(
            f"{endpoint.url}/v1",
            f"{endpoint.service} on {endpoint.node}",
            self._api_key,
            calls_tools=NATIVE_TOOLS in endpoint.tags,
        )

    def _rank(self, upstream: Upstream) -> tuple[bool, int, int]:
        url = upstream.base_url
        return self._is_avoided(url), self._busy.get(url, 0), zlib.crc32(url.encode(), zlib.crc32(self._salt))

    def _is_avoided(self, url: str) -> bool:
        failed_s = self._failed_s.get(url)
        return failed_s is not None and self._clock.monotonic_s() - failed_s < AVOID_S


async def make_gateway(
    settings: Settings,
    directory: ServiceDirectory,
    clock: Clock,
    llm: PickedLlm,
    engines: Engines,
    told: ToolPrompts,
) -> Gateway:
    """Return the gateway over an agent that is up."""
    upstreams = HouseUpstreams(
        directory,
        clock,
        settings.expert_api_key,
        _own(settings, llm),
        own_is_main=own_is_main(settings),
    )
    keys = await open_keys(settings)
    return Gateway(
        keys, Limits(clock), Relay(upstreams), engines.embedder, Ears(engines.stt), Mouth(engines.tts), told
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
        child = Upstream(server.base_url, "this machine's own model", server.api_key)
        return lambda: child if server.is_ready else None
    if not settings.llm_base_url:
        return lambda: None
    # A server that is not llama.cpp wants its model's own name, and may take no grammar.
    is_other = settings.llm_service == "openai"
    named = Upstream(
        settings.llm_base_url.rstrip("/"),
        "the server that LLM_BASE_URL names",
        llm_key(settings, settings.llm_base_url),
        model=(settings.llm_model or "default") if is_other else "",
        calls_tools=is_other,
    )
    return lambda: named
