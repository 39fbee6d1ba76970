#!/usr/bin/python
"""Look at what was asked of an expert, and reckon what its parts are to take.

It owns what is valid in the order, and the sums; Nomad says which nodes there are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from ansible.module_utils.basic import AnsibleModule

from ansible.module_utils.hashi_api import CA_ARGUMENT, ONE_SYSTEM, Api, ApiError, takes_jobs

DOCUMENTATION = """
module: expert_order
short_description: Check an expert's order and reckon the memory of its parts
description: Fails with a sentence about everything that is wrong; changes nothing.
options:
  job_name: {type: str, required: true, description: Name of the expert's job.}
  service_name: {type: str, required: true, description: "Its service, llama-api-NAME."}
  namespace: {type: str, required: true, description: Its namespace in Nomad.}
  models: {type: raw, required: true, description: "The list, as in group_vars/models.yaml."}
  last: {type: list, elements: dict, default: [], description: "Small models, one of which ends the list."}
  worker_count: {type: raw, required: true, description: How many workers lend memory.}
  memory_mb: {type: int, default: 0, description: What the server may take (MiB); 0 reckons it.}
  worker_memory_mb: {type: int, default: 0, description: What each worker lends (MiB); 0 reckons it.}
  tokens: {type: int, required: true, description: Context of all slots together (tokens).}
  url: {type: str, required: true, description: Where Nomad's agent listens.}
  token: {type: str, required: true, description: A token that may see nodes and jobs.}
  ca: {type: str, default: "", description: "Authority's file; '' for plain HTTP."}
"""

PREFIX = "llama-api-"
NAMESPACE = re.compile(r"[a-zA-Z0-9-]{1,128}")
"""What Nomad takes (developer.hashicorp.com/nomad/docs/other-specifications/namespace)."""
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,60}[a-z0-9])?")
"""A name that is also a part of a DNS name (RFC 1123)."""
SHA256 = re.compile(r"[0-9a-f]{64}")
SPLIT_MARGIN = 1.1
STAYS_HERE = 0.25
BASE_TOKENS = 8192
"""These are as in pipecatapp/experts/model_fit.py, where they come from; a test compares them."""
CACHE_BYTES = 2
"""Size of a number that llama.cpp keeps of a token (`--cache-type-k`, f16)."""
HOST_MB = 160
"""What `twin expert serve` takes beside its server (MiB)."""
NODE_SHARE = 0.75
"""Part of a node's memory that one part of an expert may take; the system and the agent have the rest."""


def faults(given: Mapping[str, Any], nodes: Sequence[int]) -> list[str]:
    """Return a sentence for each thing that is wrong with the order.

    Args:
        given: The module's parameters.
        nodes: Memory of each node that takes jobs (MiB).
    """
    found = []
    if not NAME.fullmatch(given["job_name"]):
        found.append(f"job_name={given['job_name']!r} is no name: small letters, digits and hyphens.")
    name = given["service_name"].removeprefix(PREFIX)
    if name == given["service_name"] or not NAME.fullmatch(name):
        found.append(
            f"service_name={given['service_name']!r} must be {PREFIX}NAME, for agents find experts by that."
        )
    if not NAMESPACE.fullmatch(given["namespace"]):
        found.append(
            f"namespace={given['namespace']!r} is no name for Nomad: letters, digits, hyphens; 128 at most."
        )
    count = _count(given["worker_count"])
    if count is None:
        found.append(f"worker_count={given['worker_count']!r} is no number from 0.")
    elif count > len(nodes):
        found.append(
            f"worker_count={count} is more than the cluster has: each worker is on a node of its own, and"
            f" {len(nodes)} take jobs."
        )
    return found + (_list_faults(given["models"]) or _context_faults(given["models"], given["tokens"]))


def _context_faults(models: Sequence[Mapping[str, Any]], tokens: int) -> list[str]:
    if tokens <= BASE_TOKENS:
        return []
    return [
        f"model_list, {model['name']}: memory_mb is for {BASE_TOKENS} tokens of all slots together, and for"
        f" {tokens} its shape must tell layers and cache_width."
        for model in models
        if not token_bytes(model)
    ]


def token_bytes(model: Mapping[str, Any]) -> int:
    """Return what each token of context takes of memory; 0 when the list does not tell."""
    shape = model.get("shape") or {}
    return int(shape.get("layers") or 0) * int(shape.get("cache_width") or 0) * CACHE_BYTES


def with_context(model: Mapping[str, Any], tokens: int) -> int:
    """Return what a model of the whole list takes with so much context (MiB)."""
    more = max(0, tokens - BASE_TOKENS) * int(model.get("token_bytes", 0))
    return int(model["memory_mb"]) + math.ceil(more / 2**20)


def _count(value: Any) -> int | None:
    text = str(value).strip()
    return int(text) if text.isdigit() else None


def _list_faults(models: Any) -> list[str]:
    if not isinstance(models, list) or not models:
        return ["model_list is no list of models; group_vars/models.yaml has some, such as main_models."]
    found = []
    for number, model in enumerate(models, 1):
        if not isinstance(model, dict):
            found.append(f"model_list, entry {number}: it is no model but {model!r}.")
            continue
        label = model.get("name") or f"entry {number}"
        missing = [key for key in ("name", "filename", "sha256", "memory_mb") if not model.get(key)]
        if missing:
            found.append(f"model_list, {label}: {', '.join(missing)} is missing.")
        elif not SHA256.fullmatch(str(model["sha256"])):
            found.append(f"model_list, {label}: sha256 must be 64 digits from 0 to f.")
    return found


def whole_list(
    models: Sequence[Mapping[str, Any]], last: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return the list as the job has it, ending with the smallest of the small models."""
    smallest = min(last, key=lambda model: int(model["memory_mb"])) if last else None
    names = [model["name"] for model in models]
    ending = [smallest] if smallest is not None and smallest["name"] not in names else []
    return [
        {
            "name": model["name"],
            "filename": model["filename"],
            "sha256": model["sha256"],
            "memory_mb": int(model["memory_mb"]),
            "requires_cpu": [str(flag) for flag in model.get("requires_cpu") or []],
            "token_bytes": token_bytes(model),
        }
        for model in [*models, *ending]
    ]


def reckon(
    models: Sequence[Mapping[str, Any]],
    workers: int,
    nodes: Sequence[int],
    here_mb: int = 0,
    lends_mb: int = 0,
    tokens: int = 0,
) -> dict[str, Any]:
    """Return the memory of the server and of each worker, for the best model that has room.

    Args:
        models: The whole list.
        workers: How many lend memory.
        nodes: Memory of each node that takes jobs (MiB).
        here_mb: Memory of the server that was asked for (MiB); 0 for none.
        lends_mb: Memory of each worker that was asked for (MiB); 0 for none.
        tokens: Context of all slots together.
    """
    most = NODE_SHARE * max(nodes)
    lenders = sorted(nodes)[-workers:] if workers else []
    for model in models:
        size = with_context(model, tokens)
        server = here_mb or math.ceil(size * (STAYS_HERE if workers else 1)) + HOST_MB
        lent = lends_mb or (math.ceil(size * SPLIT_MARGIN / workers) if workers else 0)
        fits_here = size * (STAYS_HERE if workers else 1) <= server - HOST_MB
        fits_there = not workers or lent * workers >= size * SPLIT_MARGIN
        if server <= most and fits_here and fits_there and all(lent <= NODE_SHARE * node for node in lenders):
            return {"expected": model["name"], "memory_mb": server, "worker_memory_mb": lent}
    smallest = min(with_context(model, tokens) for model in models)
    return {
        "expected": "",
        "memory_mb": here_mb or smallest + HOST_MB,
        "worker_memory_mb": lends_mb or math.ceil(smallest * SPLIT_MARGIN / max(1, workers)),
    }


def main() -> None:
    """Check, ask, reckon."""
    module = AnsibleModule(
        argument_spec={
            "job_name": {"type": "str", "required": True},
            "service_name": {"type": "str", "required": True},
            "namespace": {"type": "str", "required": True},
            "models": {"type": "raw", "required": True},
            "last": {"type": "list", "elements": "dict", "default": []},
            "worker_count": {"type": "raw", "required": True},
            "memory_mb": {"type": "int", "default": 0},
            "worker_memory_mb": {"type": "int", "default": 0},
            "tokens": {"type": "int", "required": True},
            **ONE_SYSTEM,
            **CA_ARGUMENT,
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        nomad = Api("nomad", given["url"], given["token"], given["ca"])
        there = nomad.request("GET", "/v1/nodes?resources=true")
        job = nomad.find(f"/v1/job/{quote(given['job_name'], safe='')}?namespace={quote(given['namespace'])}")
    except ApiError as exc:
        module.fail_json(msg=str(exc))
        return
    nodes = [int(node["NodeResources"]["Memory"]["MemoryMB"]) for node in there if takes_jobs(node)]
    if not nodes:
        module.fail_json(msg="No node of Nomad's takes jobs now; playbooks/cluster_status.yaml tells more.")
    wrong = faults(given, nodes)
    if wrong:
        module.fail_json(msg=" ".join([*wrong, "Nothing was done."]))
    models = whole_list(given["models"], given["last"])
    workers = _count(given["worker_count"]) or 0
    order = reckon(
        models, workers, nodes, given["memory_mb"], given["worker_memory_mb"], tokens=given["tokens"]
    )
    module.exit_json(
        changed=False,
        expert=given["service_name"].removeprefix(PREFIX),
        models=models,
        workers=workers,
        was_there=bool(job),
        **order,
    )


if __name__ == "__main__":
    main()
