#!/usr/bin/python
"""Keep one object of Consul's access control as it should be: a policy, role, token, login method or binding.

It owns the reading, the comparison and the write; what each may do is the roles' data.
"""

from __future__ import annotations

import urllib.parse
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible.module_utils.hashi_api import ONE_SYSTEM, Api, ApiError

DOCUMENTATION = """
module: consul_acl
short_description: Keep one object of Consul's access control as it should be
description: Compares the fields that are given with what Consul has, and writes when they differ.
options:
  url: {type: str, required: true, description: Where a Consul agent listens.}
  token: {type: str, required: true, description: A management token.}
  kind:
    type: str
    required: true
    choices: [auth-method, binding-rule, policy, role, token]
    description: Which kind of object.
  body:
    type: dict
    required: true
    description: The object; `Name` is the key, of a token `AccessorID`, of a binding rule `Description`.
"""
RETURN = """
secret: {description: The token itself, type: str, returned: for a token}
"""

KEYS = {
    "policy": "Name",
    "role": "Name",
    "token": "AccessorID",
    "auth-method": "Name",
    "binding-rule": "Description",
}
ID = {"policy": "ID", "role": "ID", "token": "AccessorID", "auth-method": "Name", "binding-rule": "ID"}
"""Field that an update names the object by."""


def covers(have: Any, want: Any) -> bool:
    """Whether everything in `want` is so in `have`; Consul adds fields, and writes an empty list as null."""
    if isinstance(want, dict):
        return isinstance(have, dict) and all(covers(have.get(key), value) for key, value in want.items())
    if isinstance(want, list):
        have = have or []
        return len(have) == len(want) and all(any(covers(one, other) for one in have) for other in want)
    if isinstance(want, str) and isinstance(have, str):
        return have.strip() == want.strip()
    return bool(have == want)


def find(api: Api, kind: str, body: dict[str, Any]) -> dict[str, Any] | None:
    """Return the object as Consul has it, None when it has none.

    Raises:
        ApiError: Consul refuses to say.
    """
    key = urllib.parse.quote(str(body[KEYS[kind]]), safe="")
    if kind == "binding-rule":
        method = urllib.parse.quote(str(body["AuthMethod"]), safe="")
        rules = api.get(f"/v1/acl/binding-rules?authmethod={method}") or []
        return next((rule for rule in rules if rule.get("Description") == body["Description"]), None)
    path = f"/v1/acl/{kind}/name/{key}" if kind in ("policy", "role") else f"/v1/acl/{kind}/{key}"
    status, answer = api.call("GET", path)
    if status == 200 and answer:
        return dict(answer)
    if status in (200, 404) or (status == 403 and "not found" in str(answer).lower()):
        return None
    raise ApiError(f"Consul answers {status} to {path}: {answer}")


def write(api: Api, kind: str, body: dict[str, Any], have: dict[str, Any] | None) -> dict[str, Any]:
    """Make or change the object; return it.

    Raises:
        ApiError: Consul refuses.
    """
    path = f"/v1/acl/{kind}"
    if have is not None:
        path += "/" + urllib.parse.quote(str(have[ID[kind]]), safe="")
    status, answer = api.call("PUT", path, body)
    if status != 200:
        raise ApiError(f"Consul refuses the {kind} '{body[KEYS[kind]]}' ({status}): {answer}")
    return dict(answer)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **ONE_SYSTEM,
            "kind": {"type": "str", "required": True, "choices": sorted(KEYS)},
            "body": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    given = module.params
    api = Api("consul", given["url"], given["token"])
    try:
        have = find(api, given["kind"], given["body"])
        changed = have is None or not covers(have, given["body"])
        if changed and not module.check_mode:
            have = write(api, given["kind"], given["body"], have)
    except ApiError as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(changed=changed, secret=(have or {}).get("SecretID", ""))


if __name__ == "__main__":
    main()
