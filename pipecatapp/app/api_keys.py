"""Picks where the gateway's API keys are kept.

It owns that choice: Consul in a cluster, where any node may run the agent; else a file of this machine.
"""

from __future__ import annotations

from pipecatapp.adapters.consul.api_keys import ConsulApiKeyStore
from pipecatapp.adapters.consul.kv import ConsulKv
from pipecatapp.adapters.host.api_key_file import FileApiKeyStore
from pipecatapp.app.cluster import consul_token_of
from pipecatapp.ports import ApiKeyStore
from pipecatapp.settings import Settings


async def watch_api_keys(settings: Settings) -> ApiKeyStore:
    """Return the keys, for an agent that lets programs in by them.

    Raises:
        ConfigError: CONSUL_CACERT cannot be used.
    """
    if not settings.consul_url:
        return FileApiKeyStore(settings.data_dir)
    return await ConsulApiKeyStore.watch(_consul(settings))


async def open_api_keys(settings: Settings) -> ApiKeyStore:
    """Return the keys, to make, list and revoke some.

    Raises:
        ConfigError: CONSUL_CACERT cannot be used.
        AdapterError: Consul does not answer, or refuses the token.
    """
    if not settings.consul_url:
        return FileApiKeyStore(settings.data_dir)
    return await ConsulApiKeyStore.open(_consul(settings))


def _consul(settings: Settings) -> ConsulKv:
    return ConsulKv(settings.consul_url, consul_token_of(settings).read, ca=settings.consul_ca)
