"""Which servers the gateway asks for an expert, and in which order."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pipecatapp.app.discovery import EndpointCredentials
from pipecatapp.app.gateway import ClusterUpstreams, tool_prompts
from pipecatapp.errors import GatewayError
from pipecatapp.experts.backend_pool import BackendPool
from pipecatapp.experts.circuit_breaker import OPEN_S
from pipecatapp.experts.external import ExternalExpert
from pipecatapp.experts.service_names import NATIVE_TOOLS
from pipecatapp.gateway.upstreams import Upstream, candidates
from pipecatapp.ports import Endpoint
from pipecatapp.workflow.prompts import PromptLibrary
from testing.fakes.fake_clock import FakeClock
from testing.fakes.fake_directory import FakeDirectory
from testing.fakes.fake_llm import FakeLlm

pytestmark = pytest.mark.unit

OWN = Upstream(base_url="http://127.0.0.1:1/v1", name="own")
ORACLE = ExternalExpert(name="coding", base_url="https://api.example.com/v1", model="large", api_key="secret")


def endpoint(expert: str, port: int, *, passing: bool = True, tags: tuple[str, ...] = ()) -> Endpoint:
    return Endpoint(
        service=f"llama-api-{expert}",
        id=f"{expert}{port}",
        node="node",
        address="10.0.0.1",
        port=port,
        tags=tags,
        passing=passing,
    )


def credentials(endpoint: Endpoint) -> EndpointCredentials:
    return (
        EndpointCredentials("large", "secret", is_llama=False)
        if endpoint.external_base_url
        else EndpointCredentials("any", "key")
    )


def house(
    *endpoints: Endpoint, own: Upstream | None = OWN, uses_only_own_llm: bool = False
) -> tuple[ClusterUpstreams, FakeClock]:
    clock = FakeClock()
    backends = BackendPool(FakeDirectory(*endpoints, clock=clock), lambda _: FakeLlm(), clock)
    return ClusterUpstreams(backends, credentials, lambda: own, uses_only_own_llm=uses_only_own_llm), clock


def ports(upstreams: Sequence[Upstream]) -> list[int]:
    return [int(upstream.base_url.rsplit(":", 1)[1].removesuffix("/v1")) for upstream in upstreams]


def test_main_is_the_houses_and_this_machines_own_behind_it() -> None:
    upstreams, _ = house(endpoint("main", 2))
    assert ports(upstreams.for_expert("main")) == [2, 1]
    assert ports(upstreams.for_expert("default")) == [2, 1]


def test_another_expert_is_never_replaced_by_the_own_model() -> None:
    upstreams, _ = house(endpoint("coding", 3, passing=False))
    assert list(upstreams.for_expert("coding")) == []
    assert list(upstreams.experts()) == ["main"]


def test_an_expert_that_starts_again_is_to_be_asked_later_and_an_unknown_one_never() -> None:
    upstreams, _ = house(endpoint("coding", 3, passing=False))
    with pytest.raises(GatewayError) as later:
        candidates(upstreams, "coding")
    assert (later.value.code, later.value.status) == ("no_expert", 503)
    assert later.value.retry_after_s > 0
    with pytest.raises(GatewayError) as never:
        candidates(upstreams, "nobody")
    assert (never.value.code, never.value.status) == ("model_not_found", 404)


def test_an_own_main_that_starts_again_is_to_be_asked_later() -> None:
    upstreams, _ = house(endpoint("coding", 3), own=None)
    for name in ("main", "default"):
        with pytest.raises(GatewayError) as caught:
            candidates(upstreams, name)
        assert caught.value.status == 503


def test_experts_that_pass_are_listed_main_first() -> None:
    upstreams, _ = house(endpoint("coding", 3), endpoint("main", 2), endpoint("art", 4, passing=False))
    assert list(upstreams.experts()) == ["main", "coding"]


def test_nobody_is_listed_when_there_is_nobody() -> None:
    upstreams, _ = house(own=None)
    assert list(upstreams.experts()) == [] and list(upstreams.for_expert("main")) == []


def test_a_server_elsewhere_is_the_only_main() -> None:
    upstreams, _ = house(endpoint("main", 2), endpoint("coding", 3), uses_only_own_llm=True)
    assert ports(upstreams.for_expert("main")) == [1]
    assert list(upstreams.experts()) == ["main", "coding"]


def test_the_one_with_least_to_do_is_asked_first() -> None:
    upstreams, _ = house(endpoint("main", 2), endpoint("main", 3), own=None)
    first, second = upstreams.for_expert("main")
    first.observer.on_request()
    assert list(upstreams.for_expert("main")) == [second, first]
    first.observer.on_done()
    assert list(upstreams.for_expert("main")) == [first, second]


def test_what_the_agents_own_calls_see_counts_for_programs_too() -> None:
    upstreams, _ = house(endpoint("main", 2), endpoint("main", 3), own=None)
    first, second = upstreams.for_expert("main")
    backend = next(one for one in upstreams._backends.candidates("llama-api-main") if one is first.observer)
    backend.on_request()
    assert list(upstreams.for_expert("main")) == [second, first]
    backend.on_done()
    backend.on_error()
    assert list(upstreams.for_expert("main")) == [second, first]


def test_one_that_failed_is_asked_after_the_own_one_until_a_trial_answers() -> None:
    upstreams, clock = house(endpoint("main", 2), endpoint("main", 3))
    first, second, own = upstreams.for_expert("main")
    first.observer.on_request()
    first.observer.on_error()
    first.observer.on_done()
    assert list(upstreams.for_expert("main")) == [second, own, first]
    clock.advance(OPEN_S + 1)
    assert list(upstreams.for_expert("main")) == [first, second, own]
    first.observer.on_request()
    assert list(upstreams.for_expert("main")) == [second, own, first], "one trial at a time"
    first.observer.on_first_token()
    first.observer.on_done()
    assert list(upstreams.for_expert("main")) == [first, second, own]


def test_an_expert_elsewhere_is_asked_with_its_own_key_and_model_after_those_of_the_house() -> None:
    upstreams, _ = house(ORACLE.endpoint, endpoint("coding", 3))
    here, elsewhere = upstreams.for_expert("coding")
    assert (here.base_url, here.api_key, here.model) == ("http://10.0.0.1:3/v1", "key", "")
    assert (elsewhere.base_url, elsewhere.api_key, elsewhere.model) == (ORACLE.base_url, "secret", "large")
    assert elsewhere.name == "llama-api-coding on api.example.com"
    here.observer.on_request()
    assert [one.base_url for one in upstreams.for_expert("coding")] == [here.base_url, ORACLE.base_url]
    assert list(upstreams.experts()) == ["main", "coding"]


def test_a_tag_says_that_a_model_calls_tools() -> None:
    upstreams, _ = house(endpoint("main", 2, tags=(NATIVE_TOOLS,)), endpoint("coding", 3))
    assert [upstreams.for_expert(name)[0].calls_tools for name in ("main", "coding")] == [True, False]
    assert upstreams.for_expert("coding")[0].api_key == "key"


def test_the_shipped_prompts_have_words_for_each_example() -> None:
    told = tool_prompts(PromptLibrary())
    assert told.how and told.words and len(told.examples) >= 2
