#!/usr/bin/python
"""Give Consul or Nomad its first management token, once.

It owns the question whether the token is known already; where the token is kept is the roles'.
"""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule

from ansible.module_utils.hashi_api import CA_ARGUMENT, Api, ApiError

DOCUMENTATION = """
module: acl_bootstrap
short_description: Give Consul or Nomad its first management token, once
description: Waits for a leader, then makes the given secret the management token unless it is one already.
options:
  system: {type: str, required: true, choices: [consul, nomad], description: Which of the two.}
  url: {type: str, required: true, description: Where its agent listens.}
  ca: {type: str, default: "", description: "Authority's file; '' for plain HTTP."}
  secret: {type: str, required: true, description: "The token, a UUID."}
  timeout_s: {type: int, default: 120, description: Longest wait for a leader, in seconds.}
"""

ANONYMOUS = {"consul": ("anonymous",), "nomad": ("anonymous", "Anonymous Token")}


def is_known(api: Api) -> bool:
    """Whether the agent knows the token that `api` shows."""
    status, answer = api.call("GET", "/v1/acl/token/self")
    return (
        status == 200 and isinstance(answer, dict) and answer.get("AccessorID") not in ANONYMOUS[api.system]
    )


def bootstrap(api: Api, secret: str) -> None:
    """Make the secret the management token.

    Raises:
        ApiError: It is too late: another token is.
    """
    status, answer = api.call("PUT", "/v1/acl/bootstrap", {"BootstrapSecret": secret})
    if status != 200:
        name = api.system.capitalize()
        raise ApiError(
            f"{name} does not take its management token ({status}: {answer}). If it has another one, put "
            f"that into {api.system}_management_token in the first controller's folder of secrets; "
            "docs/cluster.md tells how to begin anew."
        )


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "system": {"type": "str", "required": True, "choices": ["consul", "nomad"]},
            "url": {"type": "str", "required": True},
            **CA_ARGUMENT,
            "secret": {"type": "str", "required": True, "no_log": True},
            "timeout_s": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        Api(given["system"], given["url"], ca=given["ca"]).wait_for_leader(given["timeout_s"])
        known = is_known(Api(given["system"], given["url"], given["secret"], given["ca"]))
        if not known and not module.check_mode:
            bootstrap(Api(given["system"], given["url"], ca=given["ca"]), given["secret"])
    except ApiError as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(changed=not known)


if __name__ == "__main__":
    main()
