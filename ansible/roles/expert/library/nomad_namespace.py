#!/usr/bin/python
"""Make a namespace of Nomad's, or remove it when nothing is in it.

It owns the comparison; what runs in a namespace is the jobs' business.
"""

from __future__ import annotations

from urllib.parse import quote

from ansible.module_utils.basic import AnsibleModule

from ansible.module_utils.hashi_api import CA_ARGUMENT, ONE_SYSTEM, Api, ApiError

DOCUMENTATION = """
module: nomad_namespace
short_description: A namespace of Nomad's
description: A namespace that still has jobs stays when it is to go.
options:
  name: {type: str, required: true, description: Its name.}
  state: {type: str, choices: [present, absent], default: present, description: Whether it is to be there.}
  url: {type: str, required: true, description: Where Nomad's agent listens.}
  token: {type: str, required: true, description: A token that may write namespaces.}
  ca: {type: str, default: "", description: "Authority's file; '' for plain HTTP."}
"""

MARK = "Experts"
"""Description of those that are made here; another's stays when it is empty."""


def main() -> None:
    """Compare, and change what differs."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            **ONE_SYSTEM,
            **CA_ARGUMENT,
        },
        supports_check_mode=True,
    )
    given = module.params
    path = f"/v1/namespace/{quote(given['name'], safe='')}"
    try:
        nomad = Api("nomad", given["url"], given["token"], given["ca"])
        there = nomad.find(path)
        if given["state"] == "present":
            changed = there is None
            if changed and not module.check_mode:
                nomad.request("PUT", path, {"Name": given["name"], "Description": MARK})
        else:
            changed = bool(there) and there["Description"] == MARK and not _jobs(nomad, given["name"])
            if changed and not module.check_mode:
                nomad.request("DELETE", path)
    except ApiError as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(changed=changed)


def _jobs(nomad: Api, namespace: str) -> bool:
    return bool(nomad.request("GET", f"/v1/jobs?namespace={quote(namespace)}"))


if __name__ == "__main__":
    main()
