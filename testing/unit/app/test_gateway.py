"""Which servers the gateway asks for an expert, and in which order."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pipecatapp.app.gateway import AVOID_S, NATIVE_TOOLS, HouseUpstreams, tool_prompts
from pipecatapp.gateway.upstreams import Upstream
from pipecatapp.ports import Endpoint
from pipecatapp.workflow.prompts import PromptLibrary
from testing.fakes.fake_clock import FakeClock
from testing.fakes.fake_directory import FakeDirectory

pytestmark = pytest.mark.unit

OWN = Upstream("http://127.0.0.1:1/v1", "own")


def endpoint(expert: str, port: int, *, passing: bool = True, tags: tuple[str, ...] = ()) -> Endpoint:
    return Endpoint(f"llama-api-{expert}", f"{expert}{port}", "node", "10.0.0.1", port, tags, passing)


def house(
    *endpoints: Endpoint, own: Upstream | None = OWN, own_is_main: bool = False
) -> tuple[HouseUpstreams, FakeClock]:
    clock = FakeClock()
    directory = FakeDirectory(*endpoints, clock=clock)
    return HouseUpstreams(directory, clock, "key", lambda: own, own_is_main=own_is_main), clock


def ports(upstreams: Sequence[Upstream]) -> list[int]:
    return [int(upstream.base_url.rsplit(":", 1)[1].removesuffix("/v1")) for upstream in upstreams]


def test_main_is_the_houses_and_this_machines_own_behind_it() -> None:
    upstreams, _ = house(endpoint("main", 2))
    assert ports(upstreams.to_ask("main")) == [2, 1]
    assert ports(upstreams.to_ask("default")) == [2, 1]


def test_another_expert_is_never_replaced_by_the_own_model() -> None:
    upstreams, _ = house(endpoint("coding", 3, passing=False))
    assert list(upstreams.to_ask("coding")) == []
    assert list(upstreams.experts()) == ["main"]


def test_experts_that_pass_are_listed_main_first() -> None:
    upstreams, _ = house(endpoint("coding", 3), endpoint("main", 2), endpoint("art", 4, passing=False))
    assert list(upstreams.experts()) == ["main", "coding"]


def test_nobody_is_listed_when_there_is_nobody() -> None:
    upstreams, _ = house(own=None)
    assert list(upstreams.experts()) == [] and list(upstreams.to_ask("main")) == []


def test_a_server_elsewhere_is_the_only_main() -> None:
    upstreams, _ = house(endpoint("main", 2), endpoint("coding", 3), own_is_main=True)
    assert ports(upstreams.to_ask("main")) == [1]
    assert list(upstreams.experts()) == ["main", "coding"]


def test_the_one_with_least_to_do_is_asked_first() -> None:
    upstreams, _ = house(endpoint("main", 2), endpoint("main", 3), own=None)
    first, second = upstreams.to_ask("main")
    upstreams.begun(first)
    assert list(upstreams.to_ask("main")) == [second, first]
    upstreams.ended(first, failed=False)
    assert list(upstreams.to_ask("main")) == [first, second]


def test_one_that_failed_is_asked_last_for_a_while() -> None:
    upstreams, clock = house(endpoint("main", 2), endpoint("main", 3), own=None)
    first, second = upstreams.to_ask("main")
    upstreams.begun(first)
    upstreams.ended(first, failed=True)
    upstreams.begun(second)
    assert list(upstreams.to_ask("main")) == [second, first]
    upstreams.ended(second, failed=False)
    clock.advance(AVOID_S + 1)
    assert list(upstreams.to_ask("main")) == [first, second]


def test_a_tag_says_that_a_model_calls_tools() -> None:
    upstreams, _ = house(endpoint("main", 2, tags=(NATIVE_TOOLS,)), endpoint("coding", 3))
    assert [upstreams.to_ask(name)[0].calls_tools for name in ("main", "coding")] == [True, False]
    assert upstreams.to_ask("coding")[0].api_key == "key"


def test_the_shipped_prompts_have_words_for_each_example() -> None:
    told = tool_prompts(PromptLibrary())
    assert told.how and told.words and len(told.examples) >= 2
