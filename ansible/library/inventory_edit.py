#!/usr/bin/python
"""Check or change the inventory file, as a task.

It owns nothing but the call: the rules and the edit are those of `module_utils/inventory_file`. It runs on
the control node with Ansible's own Python (`ansible_playbook_python`), whose Ansible reads the inventory.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible.module_utils.inventory_file import (
    ACTIONS,
    GROUPS,
    InventoryError,
    apply,
    change_file,
    read_shaped,
)

DOCUMENTATION = """
module: inventory_edit
short_description: Check or change the inventory file
description: Adds, moves and removes machines; comments and order stay; a backup is kept beside the file.
options:
  path: {type: path, required: true, description: The inventory file.}
  action:
    type: str
    required: true
    choices: [read, check, add, move, remove, name-this]
    description: What to do; `read` returns the groups as they are written, in `groups`.
  name: {type: str, default: "", description: Name of the machine.}
  variables: {type: dict, default: {}, description: Variables of an added machine.}
  group: {type: str, default: "", description: Group that the machine goes to.}
  allow_even: {type: bool, default: false, description: Let an even number of controllers pass.}
  gone: {type: bool, default: false, description: "It is lost for good, maybe the first controller."}
"""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "action": {"type": "str", "required": True, "choices": ["read", *ACTIONS]},
            "name": {"type": "str", "default": ""},
            "variables": {"type": "dict", "default": {}},
            "group": {"type": "str", "default": "", "choices": ["", *GROUPS]},
            "allow_even": {"type": "bool", "default": False},
            "gone": {"type": "bool", "default": False},
        },
        required_if=[
            ("action", "add", ["name"]),
            ("action", "move", ["name", "group"]),
            ("action", "remove", ["name"]),
        ],
        supports_check_mode=True,
    )
    given = module.params
    variables = {str(key): str(value) for key, value in given["variables"].items()}

    def change(text: str) -> str:
        return apply(
            given["action"],
            text,
            given["name"],
            variables,
            given["group"],
            given["allow_even"],
            given["gone"],
        )

    try:
        if given["action"] == "read":
            groups = read_shaped(Path(given["path"]).read_text(encoding="utf-8"))
            module.exit_json(changed=False, groups={name: asdict(group) for name, group in groups.items()})
        changed = change_file(Path(given["path"]), change, dry_run=module.check_mode)
    except InventoryError as exc:
        module.fail_json(msg=f"{given['path']}: {exc}")
    module.exit_json(changed=changed)


if __name__ == "__main__":
    main()
