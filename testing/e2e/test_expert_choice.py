"""With the real embedder the well-known experts get the requests that are theirs."""

from __future__ import annotations

import pytest

from pipecatapp.adapters.embed.minilm import MiniLmEmbedder
from pipecatapp.experts.expert_metadata import load_profiles
from testing.bench.router import (
    AIM,
    GROUP_VARS,
    choose_all,
    nodes_of_loop,
    requests_of,
    services_of,
    summary,
    taken_before,
)
from testing.e2e.engine_models import MINILM, model
from testing.fakes.fake_llm import FakeLlm

pytestmark = pytest.mark.e2e


async def test_nine_of_ten_requests_go_to_the_right_expert_and_none_of_them_to_a_model() -> None:
    requests, llm = requests_of("router_requests.yaml"), FakeLlm()
    embedder = await MiniLmEmbedder.load(model(MINILM))
    try:
        services = services_of(embedder, load_profiles(GROUP_VARS), llm)
        route, chooser = nodes_of_loop("examples")
        found = summary(await choose_all(chooser, services, requests, passes=1))
        before = await taken_before(route, services, requests)
    finally:
        await embedder.close()

    assert found["requests"] >= 120
    assert found["accuracy"] >= AIM["accuracy"], found["wrong"]
    assert min(found["accuracy_of"].values()) >= 0.8, found["wrong"]
    assert len(before) <= found["requests"] * 0.05, before
    assert llm.requests == []
