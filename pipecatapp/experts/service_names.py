"""Names and tags of services in discovery.

It owns the names and what they mean: which service is a chat endpoint, and which expert it is.
"""

from __future__ import annotations

from pipecatapp.ports import MAIN_EXPERT, Endpoint, ServiceDirectory

EXPERT_PREFIX = "llama-api-"
"""Services that begin so are experts, one name each. `rpc-provider`, which only lends memory, is none."""
MEMORY_SERVICE = "memory-service"
"""The cluster's long-term memory."""
RPC_PROVIDER = "rpc-provider"
"""Workers that lend their memory to an expert: llama.cpp's RPC servers, never a chat endpoint."""
POOL_TAG = "pool="
"""Begins the tag that says whose worker it is."""
MEMORY_TAG = "memory-mb="
"""Begins the tag that says how much it lends (mebibytes)."""
NATIVE_TOOLS = "tools=native"
"""Tag of an expert's service whose model calls tools by itself."""


def service_of(expert: str) -> str:
    """Return the service of an expert."""
    return EXPERT_PREFIX + expert


def display_name(endpoint: Endpoint) -> str:
    """Return what a person calls an instance: the service that it answers for, and where."""
    return f"{endpoint.service} on {endpoint.node}"


def expert_names(directory: ServiceDirectory) -> tuple[str, ...]:
    """Return the experts that a directory knows, `main` first."""
    names = [name.removeprefix(EXPERT_PREFIX) for name in directory.services(EXPERT_PREFIX)]
    return tuple(sorted(names, key=lambda name: (name != MAIN_EXPERT, name)))


def healthy_or_all(directory: ServiceDirectory, service: str) -> tuple[Endpoint, ...]:
    """Return the instances of a service worth asking.

    They are those that pass; when none does, all of them, because a check that fails may be the fault of
    the checker: a Consul agent that was killed fails every service of its node.
    """
    return directory.healthy(service) or directory.instances(service)


def pool_of(expert: str) -> str:
    """Return the tag of an expert's workers."""
    return POOL_TAG + expert


def rpc_memory_mb(worker: Endpoint) -> int:
    """Return what a worker lends (mebibytes); 0 when it does not say."""
    for tag in worker.tags:
        if tag.startswith(MEMORY_TAG) and tag.removeprefix(MEMORY_TAG).isdigit():
            return int(tag.removeprefix(MEMORY_TAG))
    return 0
