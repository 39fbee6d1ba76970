#!/usr/bin/python
"""Restart this node's agent of Consul or Nomad, and return when it follows a leader again.

It owns the restart and the wait in one task, so that `throttle: 1` restarts a whole cluster node by node.
"""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule

from ansible.module_utils.hashi_api import CA_ARGUMENT, Api, ApiError

DOCUMENTATION = """
module: restart_agent
short_description: Restart an agent and wait until it follows a leader again
description: Restarts the unit of that name; fails when the agent knows no leader in time.
options:
  system: {type: str, required: true, choices: [consul, nomad], description: Which of the two.}
  url: {type: str, required: true, description: Where the agent listens.}
  ca: {type: str, default: "", description: "Authority's file; '' for plain HTTP."}
  timeout_s: {type: int, default: 120, description: "Longest wait, in seconds."}
"""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "system": {"type": "str", "required": True, "choices": ["consul", "nomad"]},
            "url": {"type": "str", "required": True},
            **CA_ARGUMENT,
            "timeout_s": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    given = module.params
    if not module.check_mode:
        for command in (
            ["systemctl", "daemon-reload"],
            ["systemctl", "restart", f"{given['system']}.service"],
        ):
            module.run_command(command, check_rc=True)
        try:
            Api(given["system"], given["url"], ca=given["ca"]).wait_for_leader(given["timeout_s"])
        except ApiError as exc:
            module.fail_json(msg=str(exc))
    module.exit_json(changed=True)


if __name__ == "__main__":
    main()
