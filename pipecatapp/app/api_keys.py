"""Where the gateway's keys are kept.

It owns that choice: Consul in a cluster, where any node may run the agent; else a file of this machine.
"""

from __future__ import annotations

from pipecatapp.adapters.consul.api_keys import ConsulKeys
from pipecatapp.adapters.consul.kv import ConsulKv
from pipecatapp.adapters.host.api_key_file import KeyFile
from pipecatapp.app.cluster import consul_token_of
from pipecatapp.ports import KeyStore
from pipecatapp.settings import Settings


async def open_keys(settings: Settings) -> KeyStore:
    """Return the keys, for an agent that lets programs in by them.

    Raises:
        ConfigError: CONSUL_CACERT cannot be used.
    """
    if not settings.consul_url:
        return KeyFile(settings.data_dir)
    return await ConsulKeys.follow(_consul(settings))


async def administer_keys(settings: Settings) -> KeyStore:
    """Return the keys, to make, list and revoke some.

    Raises:
        ConfigError: CONSUL_CACERT cannot be used.
        AdapterError: Consul does not answer, or refuses the token.
    """
    if not settings.consul_url:
        return KeyFile(settings.data_dir)
    return await ConsulKeys.administer(_consul(settings))


def _consul(settings: Settings) -> ConsulKv:
    return ConsulKv(settings.consul_url, consul_token_of(settings).read, ca=settings.consul_ca)
