"""Connections to this node's Consul and Nomad, with the tokens that root has on a controller.

Not here: what is asked of them (`ops/cluster_status`, `ops/planner`).
"""

from __future__ import annotations

import os
from pathlib import Path

from pipecatapp.adapters.consul.http import ConsulHttp, TokenSource
from pipecatapp.adapters.nomad.client import NomadClient
from pipecatapp.settings import Settings

CONSUL_HERE = "http://127.0.0.1:8500"
"""A node's own Consul agent."""
CONSUL_TOKEN = Path("/etc/consul.d/management_token")
NOMAD_TOKEN = Path("/etc/nomad.d/management_token")
"""Where a controller keeps its tokens, for root."""
NOMAD_CA = Path("/etc/nomad.d/tls/ca.pem")
"""Where a node keeps the house's authority."""


def consul_of(settings: Settings) -> ConsulHttp:
    """Return a connection to Consul, with root's token on a controller when none is set.

    Raises:
        ConfigError: CONSUL_CACERT cannot be used.
    """
    return ConsulHttp(settings.consul_url or CONSUL_HERE, consul_token_of(settings), ca=settings.consul_ca)


def consul_token_of(settings: Settings) -> TokenSource:
    """Return the token for Consul: the one set, or root's on a controller."""
    token = settings.consul_token.get_secret_value()
    return _token(token, settings.consul_token_file, CONSUL_TOKEN)


def nomad_of(settings: Settings) -> NomadClient:
    """Return a connection to Nomad, with root's token on a controller when none is set.

    Raises:
        ConfigError: NOMAD_CACERT cannot be used.
    """
    ca = settings.nomad_ca or (NOMAD_CA if os.access(NOMAD_CA, os.R_OK) else None)
    token = _token(settings.nomad_token.get_secret_value(), None, NOMAD_TOKEN)
    return NomadClient(settings.nomad_url, token, ca=ca)


def _token(token: str, file: Path | None, kept: Path) -> TokenSource:
    if not token and file is None and os.access(kept, os.R_OK):
        file = kept
    return TokenSource(token, file)
