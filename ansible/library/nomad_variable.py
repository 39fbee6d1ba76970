#!/usr/bin/python
"""Keep secrets where a job's tasks read them: in a variable of Nomad.

It owns comparing and writing; the values are never part of its answer.
"""

from __future__ import annotations

from urllib.parse import quote

from ansible.module_utils.basic import AnsibleModule

from ansible.module_utils.hashi_api import CA_ARGUMENT, ONE_SYSTEM, Api, ApiError

DOCUMENTATION = """
module: nomad_variable
short_description: Write a variable of Nomad
description: Changes nothing when the variable holds the same already.
options:
  path: {type: str, required: true, description: The variable, such as nomad/jobs/pipecat-app.}
  items: {type: dict, default: {}, description: Names and values; others are removed. None removes it.}
  namespace: {type: str, default: default, description: The namespace it is in.}
  url: {type: str, required: true, description: Where Nomad's agent listens.}
  token: {type: str, required: true, description: A token that may write variables.}
  ca: {type: str, default: "", description: "Authority's file; '' for plain HTTP."}
"""


def main() -> None:
    """Compare, and write when it differs."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "str", "required": True},
            "items": {"type": "dict", "default": {}, "no_log": True},
            "namespace": {"type": "str", "default": "default"},
            **ONE_SYSTEM,
            **CA_ARGUMENT,
        },
        supports_check_mode=True,
    )
    given = module.params
    wanted = {name: str(value) for name, value in given["items"].items()}
    try:
        nomad = Api("nomad", given["url"], given["token"], given["ca"])
        path = f"/v1/var/{given['path']}?namespace={quote(given['namespace'])}"
        there = nomad.find(path)
        changed = (there or {}).get("Items", {}) != wanted
        if changed and not module.check_mode:
            body = {"Namespace": given["namespace"], "Path": given["path"], "Items": wanted}
            nomad.request(*(("PUT", path, body) if wanted else ("DELETE", path)))
    except ApiError as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(changed=changed)


if __name__ == "__main__":
    main()
