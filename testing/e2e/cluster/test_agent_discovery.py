"""The real agent finds its expert in a real Consul, follows it, and goes on without either."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from testing.cluster_agents import ConsulAgent
from testing.e2e.service import Service
from testing.fakes.fake_llm import FakeLlm
from testing.fakes.openai_server import KEY, OpenAiServer, serving

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

FROM_EXPERT = "I am the expert of this house."
SETTLE_S = 90.0
"""Time in which a change reaches the agent on a machine that does much else (seconds)."""


def until(is_true: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + SETTLE_S
    while not is_true():
        assert time.monotonic() < deadline_s, "it did not come about"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsulAgent]:
    """A Consul that the tests may kill."""
    with ConsulAgent(tmp_path_factory.mktemp("consul")) as agent:
        yield agent.start()


@pytest.fixture(scope="module")
def agent(consul: ConsulAgent, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The real agent, whose Consul is ours and which has a language model of its own."""
    folder = tmp_path_factory.mktemp("agent")
    token = folder / "consul_token"
    token.touch(mode=0o600)
    token.write_text(consul.make_token(), encoding="utf-8")
    settings = {
        "TWIN_CONSUL_URL": consul.url,
        "CONSUL_HTTP_TOKEN_FILE": str(token),
        "LLM_API_KEY": KEY,
        "TWIN_GREETING": "",
    }
    service = Service(folder, settings).start()
    yield service
    service.stop()


@pytest.fixture
def expert(consul: ConsulAgent) -> Iterator[OpenAiServer]:
    """An expert `main` that is registered while a test runs."""
    with serving(OpenAiServer(llm=FakeLlm((FROM_EXPERT,)))) as server:
        port = urlsplit(server.url).port
        assert port is not None
        service_id = consul.register("llama-api-main", port)
        yield server
        consul.deregister(service_id)


def experts(agent: Service) -> dict[str, Any]:
    told = agent.get("/api/experts")
    assert isinstance(told, dict)
    return told


def passing(agent: Service) -> dict[str, int]:
    return {expert["name"]: expert["passing"] for expert in experts(agent)["experts"]}


def ask(agent: Service) -> str:
    reply = httpx.post(
        agent.base_url + "/api/chat",
        json={"text": "Tell me something about the sea, please."},
        timeout=120,
        trust_env=False,
    )
    assert reply.status_code == 200, reply.text
    return str(reply.json()["text"])


def test_without_an_expert_the_agent_thinks_itself(agent: Service) -> None:
    told = experts(agent)
    assert (told["experts"], told["stale"]) == ([], False)
    assert told["answering"] != "expert main"
    assert ask(agent) not in ("", FROM_EXPERT)


def test_an_expert_that_appears_is_asked_and_one_that_dies_is_replaced(
    agent: Service, consul: ConsulAgent, expert: OpenAiServer
) -> None:
    until(lambda: passing(agent) == {"main": 1})
    assert experts(agent)["answering"] == "expert main"
    assert ask(agent) == FROM_EXPERT

    # Dead, and Consul's check has not seen it yet: the agent's own model answers the very next sentence.
    expert.failure = "busy"
    assert ask(agent) not in ("", FROM_EXPERT)
    assert agent.is_healthy()


def test_an_expert_that_leaves_is_forgotten(agent: Service) -> None:
    until(lambda: experts(agent)["experts"] == [])
    assert ask(agent) not in ("", FROM_EXPERT)


def test_without_consul_the_agent_goes_on_with_what_it_knew(
    agent: Service, consul: ConsulAgent, expert: OpenAiServer
) -> None:
    # The endpoint that failed in an earlier test had another address; this one is not avoided.
    until(lambda: passing(agent) == {"main": 1})
    consul.kill()
    until(lambda: "There is no Consul" in experts(agent)["reason"])
    assert experts(agent)["stale"] is True
    assert passing(agent) == {"main": 1}
    assert agent.get("/api/status")["services"]["is_stale"] is True
    assert ask(agent) == FROM_EXPERT
    assert agent.is_healthy()
    consul.start()
    until(lambda: not experts(agent)["stale"])
    assert ask(agent) == FROM_EXPERT


def test_no_token_is_in_the_log_or_the_process_list(agent: Service, consul: ConsulAgent) -> None:
    token = (agent.folder / "consul_token").read_text(encoding="utf-8")
    assert token not in agent.log_path.read_text(encoding="utf-8", errors="replace")
    command = Path(f"/proc/{agent.pid}/cmdline").read_bytes().decode()
    assert token not in command
    assert "Consul does not answer" in agent.log_path.read_text(encoding="utf-8", errors="replace")
