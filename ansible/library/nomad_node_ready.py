#!/usr/bin/python
"""Wait until Nomad has a node that is ready for jobs.

It owns the wait only.
"""

from __future__ import annotations

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible.module_utils.hashi_api import CA_ARGUMENT, ONE_SYSTEM, POLL_S, Api, ApiError, nodes_named

DOCUMENTATION = """
module: nomad_node_ready
short_description: Wait until Nomad has a node that is ready for jobs
description: Asks a server; fails with what the node's state is instead.
options:
  url: {type: str, required: true, description: Where an agent listens.}
  ca: {type: str, default: "", description: "Authority's file; '' for plain HTTP."}
  token: {type: str, required: true, description: A token that may see nodes.}
  node: {type: str, required: true, description: The node's name.}
  version: {type: str, default: "", description: "Version of Nomad that it runs; '' for any."}
  timeout_s: {type: int, default: 120, description: "Longest wait, in seconds."}
"""


def is_ready(node: dict[str, Any], version: str) -> bool:
    """Whether the node takes part, with that version of Nomad (any for "")."""
    return node["Status"] == "ready" and (not version or node["Version"] == version)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **ONE_SYSTEM,
            **CA_ARGUMENT,
            "node": {"type": "str", "required": True},
            "version": {"type": "str", "default": ""},
            "timeout_s": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    given = module.params
    api = Api("nomad", given["url"], given["token"], given["ca"])
    deadline_s = time.monotonic() + given["timeout_s"]
    state = "it has not come"
    while time.monotonic() < deadline_s:
        try:
            nodes = nodes_named(api, given["node"])
            if any(is_ready(node, given["version"]) for node in nodes):
                module.exit_json(changed=False)
            states = {f"{node['Status']} with Nomad {node['Version']}" for node in nodes}
            state = f"it is {', '.join(sorted(states))}" if states else "it has not come"
        except ApiError as exc:
            state = str(exc)
        time.sleep(POLL_S)
    module.fail_json(
        msg=f"Nomad has no node {given['node']} that is ready after {given['timeout_s']} s: {state}. "
        f"Look there at: journalctl -u nomad"
    )


if __name__ == "__main__":
    main()
