"""Host names by which this house may be asked for.

It owns where they come from: this machine, its certificate, the fronts that Consul knows, and the owner. What
is done with another name is `web`'s.
"""

from __future__ import annotations

from collections.abc import Callable

from pipecatapp.adapters.host.hostnames import local_domains, local_hostnames, qualified_names
from pipecatapp.adapters.tls.local_ca import certificate_names
from pipecatapp.ports import ServiceDirectory
from pipecatapp.settings import Settings

FRONT_SERVICE = "ingress"
"""The front of each node in Consul; its `host` says how that machine calls itself."""


def allowed_hosts(settings: Settings, directory: ServiceDirectory) -> Callable[[], frozenset[str]]:
    """Return a question for the names and addresses of the house at this moment, in small letters."""
    certificate = certificate_names(settings.data_dir / "tls" / "node.crt")
    fixed = local_hostnames() | {name.lower() for name in certificate} | set(settings.further_names)
    domains = local_domains()
    seen = (-1, fixed)

    def now() -> frozenset[str]:
        nonlocal seen
        version = directory.version
        if seen[0] != version:
            found = set(fixed)
            for front in directory.instances(FRONT_SERVICE):
                found |= {front.address.lower()}
                found |= qualified_names(front.node, domains) | qualified_names(
                    front.meta.get("host", ""), domains
                )
            seen = (version, frozenset(found))
        return seen[1]

    return now
