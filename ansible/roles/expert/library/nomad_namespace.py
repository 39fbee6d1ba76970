#!/usr/bin/python
"""Make a namespace of Nomad's, or remove it when nothing is in it.

It owns the comparison; what runs in a namespace is the jobs' business.
"""

from __future__ import annotations

from urllib.parse import quote

from ansible.module_utils.basic import AnsibleModule

from ansible.module_utils.nomad_api import Nomad, NomadError

DOCUMENTATION = """
module: nomad_namespace
short_description: A namespace of Nomad's
description: A namespace that still has jobs stays when it is to go.
options:
  name: {type: str, required: true, description: Its name.}
  state: {type: str, choices: [present, absent], default: present, description: Whether it is to be there.}
  address: {type: str, required: true, description: Nomad's address.}
  ca: {type: path, description: Certificate of the house's authority.}
  token_file: {type: path, description: File with the token.}
"""

MARK = "Experts"
"""Description of those that are made here; another's stays when it is empty."""


def main() -> None:
    """Compare, and change what differs."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "address": {"type": "str", "required": True},
            "ca": {"type": "path"},
            "token_file": {"type": "path", "no_log": False},
        },
        supports_check_mode=True,
    )
    given = module.params
    path = f"/v1/namespace/{quote(given['name'], safe='')}"
    try:
        nomad = Nomad(given["address"], ca=given["ca"], token_file=given["token_file"])
        there = nomad.find(path)
        if given["state"] == "present":
            changed = there is None
            if changed and not module.check_mode:
                nomad.call("PUT", path, {"Name": given["name"], "Description": MARK})
        else:
            changed = bool(there) and there["Description"] == MARK and not _jobs(nomad, given["name"])
            if changed and not module.check_mode:
                nomad.call("DELETE", path)
    except NomadError as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(changed=changed)


def _jobs(nomad: Nomad, namespace: str) -> bool:
    return bool(nomad.call("GET", f"/v1/jobs?namespace={quote(namespace)}"))


if __name__ == "__main__":
    main()
