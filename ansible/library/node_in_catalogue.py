#!/usr/bin/python
"""Wait until a node has told Consul's servers of itself, with its own token.

It owns the wait only. The servers enter every member of the gossip by its address; the addresses that it is
tagged with come from the node alone.
"""

from __future__ import annotations

import time

from ansible.module_utils.basic import AnsibleModule

from ansible.module_utils.hashi_api import ONE_SYSTEM, POLL_S, Api, ApiError

DOCUMENTATION = """
module: node_in_catalogue
short_description: Wait until a node has told Consul's servers of itself
description: Asks this node's agent, which asks the servers, and shows the node's own token.
options:
  url: {type: str, required: true, description: Where the agent listens.}
  token: {type: str, required: true, description: The node's own token.}
  node: {type: str, required: true, description: The node's name.}
  timeout_s: {type: int, default: 120, description: "Longest wait, in seconds."}
"""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **ONE_SYSTEM,
            "node": {"type": "str", "required": True},
            "timeout_s": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    given = module.params
    api = Api("consul", given["url"], given["token"])
    deadline_s = time.monotonic() + given["timeout_s"]
    why = "it has not told them of itself"
    while time.monotonic() < deadline_s:
        try:
            answer = api.get(f"/v1/catalog/node/{given['node']}")
            if answer and (answer.get("Node") or {}).get("TaggedAddresses"):
                module.exit_json(changed=False)
        except ApiError as exc:
            why = str(exc)
        time.sleep(POLL_S)
    module.fail_json(
        msg=f"Consul's servers do not know {given['node']} after {given['timeout_s']} s: {why}. "
        "Look at: journalctl -u consul"
    )


if __name__ == "__main__":
    main()
