#!/usr/bin/python
"""Wait until the servers of Consul and Nomad are exactly these, all of them well.

It owns the question who has a vote; who should have one is the playbooks'.
"""

from __future__ import annotations

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible.module_utils.hashi_api import BOTH_SYSTEMS, POLL_S, Api, ApiError

DOCUMENTATION = """
module: cluster_servers
short_description: Wait until the servers of Consul and Nomad are exactly these
description: Asks both systems who has a vote in raft and whether each is well; changes nothing.
options:
  consul_url: {type: str, required: true, description: Where Consul's agent listens.}
  consul_token: {type: str, required: true, description: A token that may see the servers.}
  nomad_url: {type: str, required: true, description: Where Nomad's agent listens.}
  nomad_token: {type: str, required: true, description: A token that may see the servers.}
  ca: {type: str, default: "", description: "Authority's file; '' for plain HTTP."}
  servers: {type: list, elements: str, required: true, description: Names of the machines that have a vote.}
  timeout_s: {type: int, default: 120, description: "Longest wait, in seconds."}
"""


def voters(raft: dict[str, Any]) -> set[str]:
    """The names of the servers that have a vote; Nomad's names end in their region."""
    return {server["Node"].split(".")[0] for server in raft["Servers"] if server["Voter"]}


def unwell(health: Any) -> set[str]:
    """The names of the servers that are not well; with an answer that is none, all of them, as `?`."""
    if not isinstance(health, dict) or "Servers" not in health:
        return {"?"}
    return {server["Name"].split(".")[0] for server in health["Servers"] if not server["Healthy"]}


def fault_of(system: str, raft: dict[str, Any], health: Any, wanted: set[str]) -> str:
    """What is not as it should be, "" for nothing."""
    have = voters(raft)
    if have != wanted:
        return (
            f"{system.capitalize()}'s servers are {', '.join(sorted(have)) or 'none'}, "
            f"and should be {', '.join(sorted(wanted))}"
        )
    if not any(server["Leader"] for server in raft["Servers"]):
        return f"{system.capitalize()} has no leader"
    if ill := unwell(health):
        return f"{system.capitalize()} says that these servers are not well: {', '.join(sorted(ill))}"
    return ""


def look(apis: list[Api], wanted: set[str]) -> str:
    """The first fault of the systems, "" when both are as they should be."""
    for api in apis:
        try:
            raft = api.get("/v1/operator/raft/configuration")
            # An unwell cluster answers 429 and still says who is not well.
            _, health = api.call("GET", "/v1/operator/autopilot/health")
        except ApiError as exc:
            return str(exc)
        if fault := fault_of(api.system, raft, health, wanted):
            return fault
    return ""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **BOTH_SYSTEMS,
            "servers": {"type": "list", "elements": "str", "required": True},
            "timeout_s": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    given = module.params
    apis = [
        Api("consul", given["consul_url"], given["consul_token"]),
        Api("nomad", given["nomad_url"], given["nomad_token"], given["ca"]),
    ]
    deadline_s = time.monotonic() + given["timeout_s"]
    while fault := look(apis, set(given["servers"])):
        if time.monotonic() >= deadline_s:
            module.fail_json(msg=f"{fault} (waited {given['timeout_s']} s).")
        time.sleep(POLL_S)
    module.exit_json(changed=False)


if __name__ == "__main__":
    main()
