"""The directory follows a real Consul: the port's suite, absence, hanging, lost data, tokens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pipecatapp.adapters.consul.directory import ConsulDirectory
from pipecatapp.adapters.consul.http import ConsulHttp, TokenSource
from pipecatapp.app.clock import SystemClock
from testing.cluster_agents import ConsulAgent
from testing.cluster_fixtures import consul_agent
from testing.conformance.directory_suite import PREFIX, SERVICES, AbsenceSuite, DirectorySuite, until

pytestmark = pytest.mark.e2e

__all__ = ["consul_agent"]

WAIT_S = 2.0
"""Short, so that a Consul that hangs is noticed soon."""


@asynccontextmanager
async def following(
    agent: ConsulAgent, source: TokenSource | None = None, *, wait_s: float = WAIT_S
) -> AsyncIterator[ConsulDirectory]:
    http = ConsulHttp(agent.url, source or TokenSource(agent.make_token()), timeout_s=2)
    directory = await ConsulDirectory.open(
        http, SystemClock(), prefixes=(PREFIX,), services=SERVICES, wait_s=wait_s, first_answer_s=30
    )
    try:
        yield directory
    finally:
        await directory.close()


class ConsulWorld:
    def __init__(self, agent: ConsulAgent, directory: ConsulDirectory) -> None:
        self.agent = agent
        self.directory = directory

    def register(self, service: str, port: int, *, tags: tuple[str, ...] = (), passing: bool = True) -> None:
        self.agent.register(service, port, tags=tags, status="passing" if passing else "critical")

    def set_passing(self, service: str, port: int, passing: bool) -> None:
        self.agent.set_status(f"{service}-{port}", "passing" if passing else "warning")

    def deregister(self, service: str, port: int) -> None:
        self.agent.deregister(f"{service}-{port}")

    async def go_away(self) -> None:
        self.agent.kill()

    async def come_back(self) -> None:
        self.agent.start()


class TestFollowing(DirectorySuite):
    @pytest.fixture
    async def world(self, consul_agent: ConsulAgent) -> AsyncIterator[ConsulWorld]:
        async with following(consul_agent) as directory:
            yield ConsulWorld(consul_agent, directory)

    async def test_what_is_there_at_the_start_is_known_at_once(self, consul_agent: ConsulAgent) -> None:
        consul_agent.register("llama-api-early", 4300)
        async with following(consul_agent) as directory:
            assert [endpoint.port for endpoint in directory.healthy("llama-api-early")] == [4300]
            assert directory.healthy("llama-api-early")[0].node == consul_agent.node

    async def test_an_rpc_provider_is_no_expert(self, consul_agent: ConsulAgent) -> None:
        consul_agent.register("rpc-provider", 4310, tags=("pool=main",))
        consul_agent.register("llama-api-beside", 4311)
        async with following(consul_agent) as directory:
            assert "llama-api-beside" in directory.services()
            assert "rpc-provider" not in directory.services()

    async def test_nothing_is_left_behind(self, consul_agent: ConsulAgent) -> None:
        consul_agent.register("llama-api-beside", 4311)
        before = asyncio.all_tasks()
        async with following(consul_agent, wait_s=60) as directory:
            waiting = asyncio.create_task(directory.wait_for_change(directory.version))
            await asyncio.sleep(0)
            waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert asyncio.all_tasks() == before

    async def test_a_held_query_does_not_ask_again_and_again(
        self, consul_agent: ConsulAgent, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with following(consul_agent, wait_s=60) as directory:
            await until(directory, lambda: not directory.state().is_stale)
            with caplog.at_level(logging.INFO, logger="httpx"):
                await asyncio.sleep(2)
            asked = [record for record in caplog.records if "/v1/" in record.getMessage()]
        assert len(asked) <= 2 * (1 + len(directory.services()))


@pytest.fixture(scope="module")
def mortal_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsulAgent]:
    """A Consul that the tests may kill."""
    with ConsulAgent(tmp_path_factory.mktemp("mortal")) as agent:
        yield agent.start()


class TestAbsence(AbsenceSuite):
    @pytest.fixture
    async def world(self, mortal_agent: ConsulAgent) -> AsyncIterator[ConsulWorld]:
        async with following(mortal_agent) as directory:
            yield ConsulWorld(mortal_agent, directory)

    async def test_an_outage_is_logged_once_and_its_end_too(
        self, world: ConsulWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        directory = world.directory
        with caplog.at_level(logging.INFO, logger="pipecatapp"):
            await world.go_away()
            await until(directory, lambda: directory.state().is_stale)
            await asyncio.sleep(3)
            await world.come_back()
            await until(directory, lambda: not directory.state().is_stale)
        lines = [record.getMessage() for record in caplog.records if "Consul" in record.getMessage()]
        assert lines == ["Consul does not answer; going on with what it said last", "Consul answers again"]

    async def test_an_agent_that_hangs_is_noticed(self, world: ConsulWorld) -> None:
        directory = world.directory
        world.register("llama-api-hanging", 4400)
        await until(directory, lambda: bool(directory.healthy("llama-api-hanging")))
        world.agent.pause()
        try:
            await until(directory, lambda: directory.state().is_stale)
            assert directory.healthy("llama-api-hanging")
        finally:
            world.agent.resume()
        await until(directory, lambda: not directory.state().is_stale)

    async def test_a_token_that_was_lost_with_consuls_data_is_said(self, world: ConsulWorld) -> None:
        world.agent.kill()
        world.agent.forget()
        # The house's token is the same; the one that the directory has is gone with the data.
        world.agent.start()
        await until(world.directory, lambda: "refused the token" in world.directory.state().reason)

    async def test_an_index_that_went_backwards_is_followed_again(self, mortal_agent: ConsulAgent) -> None:
        async with following(mortal_agent, TokenSource(mortal_agent.token)) as directory:
            for port in range(4410, 4430):
                mortal_agent.register("llama-api-lost", port)
            await until(directory, lambda: len(directory.healthy("llama-api-lost")) == 20)
            mortal_agent.kill()
            mortal_agent.forget()
            mortal_agent.start()
            await until(directory, lambda: not directory.healthy("llama-api-lost"))
            mortal_agent.register("llama-api-found", 4431)
            await until(directory, lambda: bool(directory.healthy("llama-api-found")))

    async def test_a_start_without_consul_is_empty_and_stale_and_heals(
        self, mortal_agent: ConsulAgent
    ) -> None:
        mortal_agent.kill()
        try:
            async with following(mortal_agent, TokenSource(mortal_agent.token)) as directory:
                assert directory.services() == ()
                assert "no Consul at" in directory.state().reason
                mortal_agent.start()
                mortal_agent.register("llama-api-healed", 4440)
                await until(directory, lambda: bool(directory.healthy("llama-api-healed")))
                await until(directory, lambda: not directory.state().is_stale)
        finally:
            mortal_agent.kill()
            mortal_agent.start()


class TestTokens:
    async def test_a_wrong_token_is_said_in_words(self, consul_agent: ConsulAgent) -> None:
        wrong = TokenSource("00000000-0000-0000-0000-000000000001")
        async with following(consul_agent, wrong) as directory:
            state = directory.state()
            assert state.is_stale
            assert "refused the token" in state.reason
            assert wrong.token not in state.reason

    async def test_no_token_is_said_in_words(self, consul_agent: ConsulAgent) -> None:
        async with following(consul_agent, TokenSource()) as directory:
            assert directory.state().is_stale
            assert "shows nothing without a token" in directory.state().reason

    async def test_a_token_that_may_not_see_the_service_is_said(self, consul_agent: ConsulAgent) -> None:
        consul_agent.register("memory-service", 4500)
        token = consul_agent.make_token('service_prefix "llama-api-" { policy = "read" }')
        async with following(consul_agent, TokenSource(token)) as directory:
            await until(directory, lambda: directory.state().is_stale)
            assert "may not see the service memory-service" in directory.state().reason

    async def test_the_least_rights_are_enough(self, consul_agent: ConsulAgent) -> None:
        consul_agent.register("memory-service", 4500)
        consul_agent.register("llama-api-least", 4501)
        token = consul_agent.make_token(
            'service_prefix "llama-api-" { policy = "read" } service "memory-service" { policy = "read" } '
            'node_prefix "" { policy = "read" }'
        )
        async with following(consul_agent, TokenSource(token)) as directory:
            assert not directory.state().is_stale
            assert directory.healthy("memory-service")
            assert directory.healthy("llama-api-least")

    async def test_a_token_that_was_rewritten_in_its_file_is_used(
        self, consul_agent: ConsulAgent, tmp_path: Path
    ) -> None:
        file = tmp_path / "consul_token"
        file.write_text("00000000-0000-0000-0000-000000000001\n", encoding="utf-8")
        consul_agent.register("llama-api-filed", 4510)
        async with following(consul_agent, TokenSource(file=file)) as directory:
            assert directory.state().is_stale
            file.write_text(consul_agent.make_token() + "\n", encoding="utf-8")
            await until(directory, lambda: not directory.state().is_stale)
            assert directory.healthy("llama-api-filed")
