"""The gateway's keys in a real Consul: the same for every agent, and good while Consul is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pipecatapp.adapters.consul.api_keys import KEY, ConsulApiKeyStore
from pipecatapp.adapters.consul.kv import ConsulKv
from pipecatapp.app.api_keys import open_api_keys, watch_api_keys
from pipecatapp.errors import AdapterError
from pipecatapp.settings import Settings
from testing.cluster_agents import ConsulAgent
from testing.cluster_fixtures import consul_agent
from testing.conformance.keys_suite import KeysSuite, key
from testing.e2e.processes import eventually

pytestmark = pytest.mark.e2e

__all__ = ["consul_agent"]

POLL_S = 0.05
SOON_S = 10.0
READ = 'key_prefix "twin/gateway" { policy = "read" }'
"""What the tasks of jobs may do (ansible/roles/nomad)."""


def consul(agent: ConsulAgent, token: str) -> ConsulKv:
    return ConsulKv(agent.url, lambda: token)


class TestConsulKeys(KeysSuite):
    @pytest.fixture
    async def keys(self, consul_agent: ConsulAgent) -> AsyncIterator[ConsulApiKeyStore]:
        consul_agent.request("DELETE", f"/kv/{KEY}")
        keys = await ConsulApiKeyStore.open(consul(consul_agent, consul_agent.token))
        yield keys
        await keys.close()


async def test_a_change_reaches_an_agent_that_may_only_read(consul_agent: ConsulAgent) -> None:
    admin = await ConsulApiKeyStore.open(consul(consul_agent, consul_agent.token))
    seen = await ConsulApiKeyStore.watch(consul(consul_agent, consul_agent.make_token(READ)), poll_s=POLL_S)
    try:
        await admin.add(key(1))
        await eventually(lambda: "digest1" in seen.known(), SOON_S)
        assert await admin.remove("id1") and not await admin.remove("id1")
        await eventually(lambda: not seen.known(), SOON_S)
        with pytest.raises(AdapterError):
            await seen.add(key(2))
    finally:
        await asyncio.gather(admin.close(), seen.close())


async def test_two_who_change_at_once_lose_nothing(consul_agent: ConsulAgent) -> None:
    admins = [await ConsulApiKeyStore.open(consul(consul_agent, consul_agent.token)) for _ in range(4)]
    await asyncio.gather(*(admin.add(key(number)) for number, admin in enumerate(admins, 10)))
    last = await ConsulApiKeyStore.open(consul(consul_agent, consul_agent.token))
    assert {f"digest{number}" for number in range(10, 14)} <= set(last.known())
    await asyncio.gather(*(one.close() for one in (*admins, last)))


async def test_a_token_that_may_not_read_lets_nobody_in(consul_agent: ConsulAgent) -> None:
    seen = await ConsulApiKeyStore.watch(consul(consul_agent, consul_agent.make_token()), poll_s=POLL_S)
    assert seen.known() == {}
    await seen.close()
    with pytest.raises(AdapterError):
        await ConsulApiKeyStore.open(consul(consul_agent, consul_agent.make_token()))


async def test_the_settings_decide_where_keys_are(consul_agent: ConsulAgent, tmp_path: Path) -> None:
    def settings(url: str) -> Settings:
        return Settings(TWIN_DATA_DIR=tmp_path, TWIN_CONSUL_URL=url, CONSUL_HTTP_TOKEN=consul_agent.token)  # type: ignore[call-arg]

    alone, house = await open_api_keys(settings("")), await open_api_keys(settings(consul_agent.url))
    await alone.add(key(20))
    await house.add(key(21))
    opened = await watch_api_keys(settings(consul_agent.url))
    assert "digest21" in opened.known() and "digest20" not in opened.known()
    await asyncio.gather(*(store.close() for store in (alone, house, opened)))


async def test_keys_stay_good_while_consul_is_away(consul_agent: ConsulAgent) -> None:
    admin = await ConsulApiKeyStore.open(consul(consul_agent, consul_agent.token))
    await admin.add(key(30))
    seen = await ConsulApiKeyStore.watch(consul(consul_agent, consul_agent.make_token(READ)), poll_s=POLL_S)
    consul_agent.kill()
    await asyncio.sleep(5 * POLL_S)
    assert "digest30" in seen.known()
    with pytest.raises(AdapterError):
        await admin.add(key(31))
    consul_agent.start()
    await admin.remove("id30")
    await eventually(lambda: "digest30" not in seen.known(), SOON_S)
    await asyncio.gather(admin.close(), seen.close())


async def test_what_is_no_list_of_keys_is_told(consul_agent: ConsulAgent) -> None:
    consul_agent.request("PUT", f"/kv/{KEY}", {"not": "keys"})
    with pytest.raises(AdapterError, match="cannot be read"):
        await ConsulApiKeyStore.open(consul(consul_agent, consul_agent.token))
